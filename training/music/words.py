"""Description of a piece in common words; some of them may be left out."""

from __future__ import annotations

from numpy.random import Generator

from training.music.piece import KEYS, Piece

WORDS: dict[str, dict[str, tuple[str, ...]]] = {
    "tempo": {"slow": ("slow", "calm"), "medium": ("moderate",), "fast": ("fast", "upbeat")},
    "loudness": {"soft": ("soft", "quiet"), "loud": ("loud", "powerful")},
    "register": {"low": ("low", "deep"), "high": ("high", "bright")},
    "instrument": {
        "piano": ("piano",),
        "bells": ("bells",),
        "flute": ("flute",),
        "organ": ("organ",),
        "synth": ("synth", "synthesizer"),
        "bass": ("bass",),
    },
    "texture": {
        "melody": ("melody", "tune"),
        "chords": ("chords",),
        "arpeggio": ("arpeggio",),
        "drone": ("drone",),
    },
}
DRUMS = ("drums", "beat")
LEFT_OUT = 0.1


def describe(piece: Piece, rng: Generator, left_out: float = LEFT_OUT) -> str:
    """Return a text such as "slow soft low piano melody in C minor with drums"; never empty."""
    adjectives = [
        _word(name, getattr(piece, name), rng) for name in ("tempo", "loudness", "register")
    ]
    nouns = []
    if piece.instrument is not None:
        nouns = [
            _word("instrument", piece.instrument, rng),
            _word("texture", piece.texture, rng) if rng.random() < 0.8 else "",
        ]
    adjectives = [each for each in adjectives if each and rng.random() >= left_out]
    nouns = [each for each in nouns if each and rng.random() >= left_out]
    rng.shuffle(adjectives)
    parts = [*adjectives, *nouns]
    drums = str(rng.choice(DRUMS))
    if piece.instrument is None:
        parts.append(drums)
    else:
        if rng.random() < 0.85:
            parts.append(f"in {KEYS[piece.key]} {piece.mode}")
        if piece.drums and rng.random() >= left_out:
            parts.append(f"with {drums}" if nouns else drums)
    return " ".join(parts) or "music"


def _word(attribute: str, value: str, rng: Generator) -> str:
    choices = WORDS[attribute][value]
    return str(rng.choice(choices)) if choices else ""
