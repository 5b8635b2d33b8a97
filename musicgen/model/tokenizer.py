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

    def read(name: str) -> bytes | None:
        path = folder / name
        return path.read_bytes() if path.exists() else None

    return build_tokenizer(read, folder)


def build_tokenizer(read: Callable[[str], bytes | None], folder: Path) -> Tokenize:
    """The same of files that `read` gives by their names; `folder` is where they lie."""
    for name, parse in (("tokenizer.json", _load_fast), ("spiece.model", _load_sentencepiece)):
        content = read(name)
        if content is not None:
            return parse(content, folder / name)
    raise CheckpointIncomplete(f"{folder} has no tokenizer.json and no spiece.model")


def _load_fast(content: bytes, path: Path) -> Tokenize:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_buffer(content)
    except Exception as error:  # tokenizers raises nothing narrower
        raise CheckpointCorrupt(f"{path} cannot be read as a tokenizer: {error}") from error
    # A saved padding or truncation rule belongs to training, not to one prompt.
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return lambda prompt: list(tokenizer.encode(prompt).ids)


def _load_sentencepiece(content: bytes, path: Path) -> Tokenize:
    try:
        from sentencepiece import SentencePieceProcessor
    except ImportError:
        raise MissingDependency(
            "sentencepiece", f"{path}, a checkpoint without tokenizer.json,", "sentencepiece"
        ) from None
    try:
        processor = SentencePieceProcessor(model_proto=content)
    except (OSError, RuntimeError) as error:
        raise CheckpointCorrupt(f"{path} cannot be read as sentencepiece: {error}") from error
    return lambda prompt: [*processor.encode(prompt), processor.eos_id()]
