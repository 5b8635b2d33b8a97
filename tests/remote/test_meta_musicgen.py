"""What meta/musicgen on Replicate is asked, and what it is not asked for in vain."""

from __future__ import annotations

import base64
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest

from musicgen.errors import GenerationCancelled
from musicgen.remote import http_api as base
from musicgen.remote import replicate
from musicgen.remote.errors import RemoteRefusal
from musicgen.remote.guarded import GuardedDeployment
from tests.support.elsewhere import Elsewhere, make
from tests.support.platform_apis import Answer, served

WAV = b"RIFF as far as anybody looks"


@dataclass
class MetaApi:
    """Replicate's API of that model; predictions succeed at the second look, with `output`."""

    output: bytes = WAV
    inputs: list[dict[str, Any]] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)

    def answer(self, method: str, path: str, body: dict[str, Any]) -> Answer:
        match path.strip("/").split("/")[1:]:
            case ["models", "meta", "musicgen"]:
                return 200, {"latest_version": {"id": "v9"}}
            case ["predictions"]:
                self.inputs.append(body["input"])
                return 201, {"id": f"p{len(self.inputs)}", "status": "processing", "logs": ""}
            case ["predictions", name]:
                data = base64.b64encode(self.output).decode()
                return 200, {
                    "id": name,
                    "status": "succeeded",
                    "output": f"data:application/octet-stream;base64,{data}",
                    "metrics": {"predict_time": 2.5},
                }
            case ["predictions", name, "cancel"]:
                self.cancelled.append(name)
                return 200, {"id": name, "status": "canceled"}
        return 404, {"detail": path}


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[MetaApi]:
    meta = MetaApi()
    monkeypatch.setattr(base, "POLL_SECONDS", 0.01)
    with served(meta) as address:
        monkeypatch.setattr(replicate, "BASE_URL", address)
        yield meta


@pytest.fixture
def hybrid(elsewhere: Elsewhere) -> GuardedDeployment:
    return elsewhere.hybrid("replicate", "meta/musicgen")


def test_what_it_knows_is_translated(hybrid: GuardedDeployment, api: MetaApi) -> None:
    sound = base64.b64encode(b"a sound").decode()
    fields = {
        "prompt": "x",
        "duration": 20.0,
        "seed": 5,
        "model_version": "facebook/musicgen-melody-large",
        "input_audio": sound,
        "continuation": True,
        "continuation_start": 1.0,
        "continuation_end": 4.0,
        "classifier_free_guidance": 4.0,
        "sample_rate": 32000,
        "bitrate": None,
        "normalization_strategy": "peak",
    }
    made = make(hybrid, fields)
    assert api.inputs == [
        {
            "prompt": "x",
            "duration": 20,
            "seed": 5,
            "model_version": "melody-large",
            "input_audio": f"data:audio/wav;base64,{sound}",
            "continuation": True,
            "continuation_start": 1,
            "continuation_end": 4,
            "classifier_free_guidance": 4,
            "normalization_strategy": "peak",
        }
    ]
    assert {type(api.inputs[0][name]) for name in ("duration", "continuation_end")} == {int}
    [clip] = made.clips
    assert (clip.data, clip.content_type, clip.seed) == (WAV, "audio/wav", 5)
    assert (clip.model, clip.licence) == ("melody-large", "CC-BY-NC-4.0")
    assert made.made_by == "replicate:meta/musicgen"


def test_each_clip_is_a_prediction_of_the_next_seed(
    hybrid: GuardedDeployment, elsewhere: Elsewhere, api: MetaApi
) -> None:
    """And each is paid for."""
    made = make(hybrid, {"prompts": ["a", "b"], "variations": 2, "seed": 8, "duration": 3})
    asked = [(each["prompt"], each["seed"]) for each in api.inputs]
    assert asked == [("a", 8), ("a", 9), ("b", 10), ("b", 11)]
    assert [(clip.prompt, clip.seed) for clip in made.clips] == asked
    assert made.cost_usd == 0.01
    assert elsewhere.spent == Decimal("0.01")


def test_a_seed_is_chosen_and_told(hybrid: GuardedDeployment, api: MetaApi) -> None:
    for given in (None, -1):
        [clip] = make(hybrid, {"prompt": "x", "seed": given}).clips
        assert clip.seed == api.inputs[-1]["seed"] > 0


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"prompt": "", "sections": [{"prompt": "a", "duration": 3}]}, "no field sections"),
        ({"negative_prompt": "noise"}, "no field negative_prompt"),
        ({"loop": True, "bpm": 120}, "it has no field"),
        ({"fade_out": 1.0}, "no field fade_out"),
        ({"sample_rate": 48000}, "no field sample_rate"),
        ({"save_tokens": True}, "no field save_tokens"),
        ({"decoder": "multi_band_diffusion"}, "no field decoder"),
        ({"output_format": "flac"}, "wav, mp3"),
        ({"normalization_strategy": "none"}, "loudness, peak, rms, clip"),
        ({"model_version": "small"}, "stereo-melody-large, stereo-large"),
        ({"model_version": "large", "input_audio": "https://host/a.wav"}, "cannot follow a melody"),
        ({"duration": 2.5}, "duration must be a whole number (was 2.5)"),
        ({"seed": 0}, "the seed 0"),
    ],
)
def test_what_it_cannot_do_is_refused_before_it_is_asked(
    hybrid: GuardedDeployment, api: MetaApi, fields: dict[str, Any], reason: str
) -> None:
    """And however often, that is nothing against Replicate."""
    for _ in range(5):
        with pytest.raises(RemoteRefusal, match=re.escape(reason)) as raised:
            make(hybrid, {"prompt": "x"} | fields)
        assert raised.value.is_request_fault
    assert not api.inputs
    assert hybrid.breaker.state == "closed"


def test_what_is_no_sound_is_no_clip(
    hybrid: GuardedDeployment, elsewhere: Elsewhere, api: MetaApi
) -> None:
    """Guards an error page that is kept as somebody's music. It has cost its time all the same."""
    api.output = b"<html>"
    with pytest.raises(Exception, match="not a file of format wav"):
        make(hybrid, {"prompt": "x"})
    assert hybrid.breaker.failures == 1
    assert elsewhere.spent == Decimal("0.0025")


def test_cancelling_between_two_clips_pays_for_the_first(
    hybrid: GuardedDeployment, elsewhere: Elsewhere, api: MetaApi
) -> None:
    cancelled = threading.Event()
    lines: list[tuple[float | None, str]] = []

    def tell(fraction: float | None, line: str) -> None:
        lines.append((fraction, line))
        if line.startswith("clip 2 of 3"):
            cancelled.set()

    with pytest.raises(GenerationCancelled):
        hybrid.generate({"prompt": "x", "variations": 3}, on_progress=tell, cancelled=cancelled)
    assert api.cancelled == ["p2"] and len(api.inputs) == 2
    assert [fraction for fraction, _ in lines] == [0.0, 1 / 3]
    assert elsewhere.spent >= Decimal("0.0025")
    assert hybrid.breaker.state == "closed"
