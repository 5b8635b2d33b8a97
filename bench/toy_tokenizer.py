"""A small T5 tokenizer trained on a few dozen music prompts.

The folder gets both forms of published checkpoints: `spiece.model` (sentencepiece), and
`tokenizer.json` with the same pieces, scores and character map. Both give the same ids.
Layout as in T5: <pad>=0, </s>=1, <unk>=2, the pieces, then <extra_id_99> ... <extra_id_0>.
"""

from __future__ import annotations

import functools
import io
import itertools
from collections.abc import Iterator
from pathlib import Path

EXTRA_IDS = 100
PIECES = 120
VOCAB_SIZE = PIECES + EXTRA_IDS

_GENRES = ("pop", "rock", "jazz", "lo-fi hip hop", "techno", "folk", "classical", "reggae")
_INSTRUMENTS = ("drums", "piano", "synth", "electric guitar", "violin", "flute", "bass", "organ")
_MOODS = ("calm", "heavy", "happy", "dark", "80s", "90s", "slow", "fast", "quiet", "energetic")
_EXTRAS = (
    "An upbeat track with a catchy melody, perfect for the beach; 120 bpm, 320kbps 48khz",
    "Sad ballad: warm strings & soft vocals - the quick brown fox jumps over the lazy dog!",
    "EDM (house) drop / big room? Violins and fun 303's, jazzy 4/4 groove at 175 BPM.",
    "earthy tones, environmentally conscious, ukulele-infused, harmonic, breezy, easygoing",
)


def train_sentencepiece() -> bytes:
    """Return the serialised sentencepiece model, the same bytes in every process."""
    return _train()


def write_tokenizer(folder: Path) -> None:
    """Write `spiece.model`, `tokenizer.json` and `tokenizer_config.json`."""
    from sentencepiece import SentencePieceProcessor
    from transformers import T5Tokenizer

    model = train_sentencepiece()
    pieces = SentencePieceProcessor(model_proto=model)
    vocab = [(pieces.id_to_piece(i), pieces.get_score(i)) for i in range(len(pieces))]
    vocab += [(f"<extra_id_{i}>", 0.0) for i in reversed(range(EXTRA_IDS))]
    tokenizer = T5Tokenizer(
        vocab=vocab, _spm_precompiled_charsmap=_character_map(model), extra_ids=EXTRA_IDS
    )
    tokenizer.save_pretrained(folder)
    (folder / "spiece.model").write_bytes(model)


@functools.lru_cache(maxsize=1)
def _train() -> bytes:
    from sentencepiece import SentencePieceTrainer

    written = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(_corpus()),
        model_writer=written,
        model_type="unigram",
        normalization_rule_name="nmt_nfkc",
        vocab_size=PIECES,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        num_threads=1,
        minloglevel=2,
    )
    return written.getvalue()


def _corpus() -> list[str]:
    prompts = [
        f"{mood} {genre} track with {instrument}"
        for mood, genre, instrument in itertools.product(_MOODS, _GENRES, _INSTRUMENTS)
    ]
    return prompts[::3] + list(_EXTRAS) * 8


def _character_map(model: bytes) -> bytes:
    """Read `ModelProto.normalizer_spec.precompiled_charsmap` without the protobuf package."""
    normalizer_spec = next(value for number, value in _fields(model) if number == 3)
    return next(value for number, value in _fields(normalizer_spec) if number == 2)


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (field number, payload) of the length-delimited fields of a protobuf message."""
    fixed_sizes = {1: 8, 5: 4}
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        number, wire_type = key >> 3, key & 7
        if wire_type == 0:
            _, position = _varint(message, position)
        elif wire_type == 2:
            size, position = _varint(message, position)
            yield number, message[position : position + size]
            position += size
        else:
            position += fixed_sizes[wire_type]


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, position
