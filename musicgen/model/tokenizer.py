"""A prompt's tokens, as T5 was trained: tokenizer.json, or spiece.model where that is all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from musicgen.errors import CheckpointCorrupt, CheckpointIncomplete, MissingDependency

Tokenize = Callable[[str], list[int]]


def load_tokenizer(folder: Path) -> Tokenize:
    """A function from a prompt to token ids that end with `</s>`.

    Raises: `CheckpointIncomplete` when the folder has neither file, `CheckpointCorrupt`,
    `MissingDependency` when only spiece.model is there and sentencepiece is not installed.
    """
    if (folder / "tokenizer.json").exists():
        return _fast_tokenizer(folder / "tokenizer.json")
    if (folder / "spiece.model").exists():
        return _sentencepiece_tokenizer(folder / "spiece.model")
    raise CheckpointIncomplete(f"{folder} has no tokenizer.json and no spiece.model")


def _fast_tokenizer(path: Path) -> Tokenize:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises nothing narrower
        raise CheckpointCorrupt(f"{path} cannot be read as a tokenizer: {error}") from error
    # A saved padding or truncation rule belongs to training, not to one prompt.
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return lambda prompt: list(tokenizer.encode(prompt).ids)


def _sentencepiece_tokenizer(path: Path) -> Tokenize:
    try:
        from sentencepiece import SentencePieceProcessor
    except ImportError:
        raise MissingDependency(
            "sentencepiece", f"{path}, a checkpoint without tokenizer.json,", "sentencepiece"
        ) from None
    try:
        processor = SentencePieceProcessor(model_file=str(path))
    except (OSError, RuntimeError) as error:
        raise CheckpointCorrupt(f"{path} cannot be read as sentencepiece: {error}") from error
    return lambda prompt: [*processor.encode(prompt), processor.eos_id()]
