"""Tokenizer of prompts, as in T5's training: tokenizer.json, or else spiece.model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from musicgen.errors import CheckpointCorrupt, CheckpointIncomplete, MissingDependency

Tokenize = Callable[[str], list[int]]


def load_tokenizer(folder: Path) -> Tokenize:
    """Load the tokenizer of a checkpoint folder; its token ids end with `</s>`.

    Raises: `CheckpointIncomplete` when the folder has neither file, `CheckpointCorrupt`,
    `MissingDependency` for a folder with spiece.model only when sentencepiece is not installed.
    """

    def read(name: str) -> bytes | None:
        path = folder / name
        return path.read_bytes() if path.exists() else None

    return build_tokenizer(read, folder)


def build_tokenizer(read: Callable[[str], bytes | None], folder: Path) -> Tokenize:
    """Build the tokenizer from files returned by `read`; `folder` appears in errors.

    Raises: the errors of `load_tokenizer`.
    """
    for name, parse in (("tokenizer.json", _load_fast), ("spiece.model", _load_sentencepiece)):
        content = read(name)
        if content is not None:
            return parse(content, folder / name)
    raise CheckpointIncomplete(f"{folder} has neither tokenizer.json nor spiece.model.")


def _load_fast(content: bytes, path: Path) -> Tokenize:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_buffer(content)
    except Exception as error:  # tokenizers raises nothing narrower
        raise CheckpointCorrupt(f"{path} is not a valid tokenizer: {error}") from error
    # A saved padding or truncation rule applies to training, not to a single prompt.
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
        raise CheckpointCorrupt(f"{path} is not a valid sentencepiece model: {error}") from error
    return lambda prompt: [*processor.encode(prompt), processor.eos_id()]
