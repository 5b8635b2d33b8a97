"""A refused sound has a stable reason, so that a page can tell it in its reader's language."""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np
import pytest
import soundfile as sf

from musicgen.errors.sound_reasons import SoundReason
from tests.support.job_server import JobServer


def _wav(pcm: np.ndarray, rate: int = 32_000) -> bytes:
    file = io.BytesIO()
    sf.write(file, pcm, rate, format="wav", subtype="FLOAT")
    return file.getvalue()


SILENCE = np.zeros(8_000, np.float32)
REFUSED: dict[str, tuple[bytes, dict[str, Any]]] = {
    "not_audio": (b"\x89PNG\r\n\x1a\n" + bytes(500), {}),
    "empty_body": (b"", {}),
    "no_audio": (_wav(SILENCE[:0]), {}),
    "not_finite": (_wav(np.full(8_000, np.nan, np.float32)), {}),
    "too_many_channels": (_wav(np.zeros((800, 9), np.float32)), {"most": 8}),
    "bad_rate": (_wav(SILENCE, 500_000), {"least": 4_000, "most": 384_000}),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_an_upload_is_refused_with_its_reason(server: JobServer, reason: str) -> None:
    data, values = REFUSED[reason]
    answer = server.http.post("/v1/uploads", content=data)
    assert answer.status_code == 422, answer.text
    error = answer.json()["error"]
    assert (error["code"], error["field"]) == ("invalid_input_audio", "body")
    assert (error["reason"], error["values"]) == (reason, values)
    assert str(SoundReason(reason, **error["values"])) in error["message"]


def test_a_form_is_refused_with_its_reason(server: JobServer) -> None:
    answer = server.http.post("/v1/uploads", files={"file": b"x"})
    assert answer.json()["error"]["reason"] == "a_form"


@pytest.mark.parametrize("continuation", [True, False])
def test_a_job_that_fails_for_its_sound_has_the_reason_too(
    server: JobServer, continuation: bool
) -> None:
    sound = {"input_audio": "data:audio/wav;base64,QUJDREVGRw==", "continuation": continuation}
    answer = server.http.post("/v1/generate", json={"prompt": "x", "duration": 1, **sound})
    assert answer.status_code == 202, answer.text
    error = server.ended(answer.json()["job_id"])["error"]
    assert (error["code"], error["field"]) == ("invalid_input_audio", "input_audio")
    # The demo model follows text only.
    assert error["reason"] == ("not_audio" if continuation else "not_a_melody")
    assert error["values"] == {}


def test_a_reason_survives_its_way_to_another_process() -> None:
    reason = SoundReason("damaged", seconds=1.25)
    copy = pickle.loads(pickle.dumps(reason))
    assert (copy, copy.code, copy.values) == ("is damaged after 1.25 s", "damaged", reason.values)
    with pytest.raises(KeyError):
        SoundReason("unknown")
