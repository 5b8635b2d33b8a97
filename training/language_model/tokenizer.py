"""T5 tokenizer with the words of `training.music.words`, and letters for all other words."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

from training.music.piece import KEYS, MODES
from training.music.words import DRUMS, WORDS

_SPACE = "\u2581"
_SPECIAL = ("<pad>", "</s>", "<unk>")
_WORD_SCORE, _LETTER_SCORE = -3.0, -8.0
_OTHER_WORDS = ("in", "with", "and", "music", "a", "the", "of")


def pieces() -> list[tuple[str, float]]:
    """Return special tokens, whole words, then single characters: any text has tokens."""
    words = [word for values in WORDS.values() for choices in values.values() for word in choices]
    known = dict.fromkeys([*words, *DRUMS, *KEYS, *MODES, *_OTHER_WORDS])
    whole = [(_SPACE + word, _WORD_SCORE) for word in known]
    letters = [_SPACE, *string.ascii_letters, *string.digits, *"#,.-'!&/"]
    return [
        *((piece, 0.0) for piece in _SPECIAL),
        *whole,
        *((letter, _LETTER_SCORE) for letter in letters),
    ]


def make_tokenizer() -> Any:
    """Build transformers' T5Tokenizer of these pieces."""
    from transformers import T5Tokenizer

    return T5Tokenizer(vocab=pieces(), extra_ids=0)


def write_tokenizer(folder: Path) -> None:
    """Write tokenizer.json beside a checkpoint."""
    make_tokenizer().save_pretrained(folder)
