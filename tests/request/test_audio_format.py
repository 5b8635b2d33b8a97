"""The format of a request's clips is one value."""

from __future__ import annotations

import pytest

from musicgen.request import AudioFormat, GenerationRequest


def test_a_request_hands_on_its_format() -> None:
    fields = {"output_format": "mp3", "bit_depth": "24", "bitrate": 64, "sample_rate": 48_000}
    request = GenerationRequest.from_mapping({"prompt": "x", **fields})
    assert request.audio_format == AudioFormat("mp3", "24", 64, 48_000)
    assert GenerationRequest(prompt="x").audio_format == AudioFormat()


def test_the_model_s_rate_fills_in_a_missing_one() -> None:
    assert AudioFormat().with_rate(32_000).rate == 32_000
    assert AudioFormat(sample_rate=44_100).with_rate(32_000).rate == 44_100
    with pytest.raises(ValueError, match="no sample rate"):
        _ = AudioFormat().rate
