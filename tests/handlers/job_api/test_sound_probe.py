"""The check of an upload that ends early is the file's problem, and the operator sees its end."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path

import pytest

from handlers.job_api.api.sound_probe import SoundProbe
from musicgen.audio.decoder_limits import OUT_OF_LIMITS
from musicgen.errors import InvalidInputAudio
from tests.support.clips import wav


def test_an_early_end_is_logged_with_its_status(
    crashing_program: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Limits too low for a machine refused every sound, and no line of the log said why."""
    path = tmp_path / "clip.wav"
    path.write_bytes(wav(0.1))
    assert asyncio.run(SoundProbe().measure(path, "caller")) == pytest.approx(0.1)
    assert caplog.records == []
    monkeypatch.setattr(sys, "executable", str(crashing_program))
    with (
        caplog.at_level(logging.WARNING),
        pytest.raises(InvalidInputAudio, match=OUT_OF_LIMITS),
    ):
        asyncio.run(SoundProbe().measure(path, "caller"))
    assert "ended early, with status -11" in caplog.text
