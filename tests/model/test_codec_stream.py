"""Pieces of a codec stream join to the whole decode for any division of the codes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from musicgen.checkpoints.weights import load_model
from musicgen.model import encodec
from musicgen.model.codec_stream import PIECE_FRAMES, CodecStream, compute_lag, decode_in_pieces
from musicgen.model.config import MusicGenConfig
from musicgen.model.encodec import Codec, decode_channels

LONGEST = 40
SHAPES = (
    "musicgen-small",
    "musicgen-stereo-small",
    "three-codebooks",
    "one-lstm-layer",
    "causal-shortcut",
)


@dataclass(frozen=True)
class Case:
    codec: Codec
    channels: int
    codes: torch.Tensor

    def whole(self, frames: int) -> torch.Tensor:
        with torch.inference_mode():
            return decode_channels(self.codec, self.codes[None, :, :frames], self.channels)[0]

    def decode_pieces(self, pieces: list[int]) -> torch.Tensor:
        stream, start, out = CodecStream(self.codec, self.channels), 0, []
        for index, length in enumerate(pieces):
            last = index == len(pieces) - 1
            out.append(stream.push(self.codes[:, start : start + length], last))
            start += length
        return torch.cat(out, dim=1)


@pytest.fixture(scope="module", params=SHAPES)
def case(request: pytest.FixtureRequest, checkpoints: Callable[[str], Path]) -> Case:
    folder = checkpoints(request.param)
    config = MusicGenConfig.from_folder(folder)
    codec = load_model(folder, config, torch.device("cpu"), torch.float32).codec
    shape = (config.decoder.codebooks, LONGEST)
    codes = torch.randint(config.codec.codebook_size, shape, generator=torch.manual_seed(3))
    return Case(codec, config.channels, codes)


@settings(max_examples=30)
@given(pieces=st.lists(st.integers(0, 9), min_size=1, max_size=8).filter(any))
def test_pieces_of_any_size_join_to_the_whole(case: Case, pieces: list[int]) -> None:
    """Also for empty pieces, and for clips shorter than a convolution's padding."""
    frames = sum(pieces[:LONGEST])
    pieces = pieces if frames <= LONGEST else [LONGEST]
    whole = case.whole(min(frames, LONGEST))
    torch.testing.assert_close(case.decode_pieces(pieces), whole, atol=1e-4, rtol=0)


def test_the_output_lags_as_far_as_it_must_and_no_more(case: Case) -> None:
    """A stream that held everything back until its end would join to the whole as well."""
    stream = CodecStream(case.codec, case.channels)
    hop = case.codec.config.hop_length
    known = 0
    for frame in range(1, LONGEST):
        known += stream.push(case.codes[:, frame - 1 : frame], last=False).shape[1]
        # The first convolution begins when it has what it mirrors at the clip's beginning.
        assert known == frame * hop - compute_lag(case.codec) or (known == 0 and frame <= 7)
    assert compute_lag(case.codec) <= 7 * hop


def test_a_whole_clip_is_decoded_in_pieces_unheard(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PIECE_FRAMES, "cpu", 7)
    made = decode_in_pieces(case.codec, case.codes, case.channels)
    torch.testing.assert_close(made, case.whole(LONGEST), atol=1e-4, rtol=0)


def test_a_piece_depends_on_what_came_before_it(case: Case) -> None:
    """Guards the guard: without the LSTM's state the second half would be another one."""
    hop = case.codec.config.hop_length
    with torch.inference_mode():
        alone = decode_channels(case.codec, case.codes[None, :, 20:], case.channels)[0]
    whole = case.whole(LONGEST)[:, 20 * hop :]
    assert (alone - whole)[:, 8 * hop :].abs().max() > 1e-4


@pytest.mark.filterwarnings("ignore:TF32")
def test_the_detour_of_an_old_torch_gives_the_same_samples(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is taken on a processor only, by versions that this suite does not run on."""
    whole, decode_pieces = case.whole(LONGEST), case.decode_pieces([25, 15])
    monkeypatch.setattr(encodec, "_PREPARES_EVERY_LENGTH", True)
    torch.testing.assert_close(case.whole(LONGEST), whole, atol=1e-5, rtol=0)
    torch.testing.assert_close(case.decode_pieces([25, 15]), decode_pieces, atol=1e-5, rtol=0)
