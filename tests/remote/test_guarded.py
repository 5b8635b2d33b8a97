"""Clips made elsewhere through all of it: the platforms' own software, the breaker, the ledger."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

from musicgen.predictor import Predictor
from musicgen.remote.errors import RemoteRefusal
from musicgen.remote.guarded import GuardedDeployment
from musicgen.request import GenerationRequest
from musicgen.settings import Settings
from tests.support.cog_server import Server
from tests.support.elsewhere import FIELDS, PRICE, Elsewhere, make
from tests.support.json_server import TOKEN
from tests.support.ledger import MemoryLedger
from tests.support.platform_apis import RunPodApi

pytestmark = pytest.mark.usefixtures("platforms")


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return Predictor.load(Settings(threads=1, data_dir=tmp_path_factory.mktemp("direct")))


def _files(predictor: Predictor, fields: dict[str, Any]) -> list[tuple[bytes, int, str]]:
    clips = predictor.generate(GenerationRequest.from_mapping(fields)).clips
    return [(Path(clip.address).read_bytes(), clip.seed, clip.prompt) for clip in clips]


def test_a_clip_is_the_same_bytes_as_the_predictors_own(
    hybrid: GuardedDeployment, elsewhere: Elsewhere, predictor: Predictor
) -> None:
    made = make(hybrid, FIELDS)
    assert [(c.data, c.seed, c.prompt) for c in made.clips] == _files(predictor, FIELDS)
    [clip] = made.clips
    assert (clip.content_type, clip.model, clip.licence) == ("audio/wav", "demo", "Apache-2.0")
    assert clip.seconds == pytest.approx(0.3)
    assert made.made_by == hybrid.label and TOKEN not in made.made_by
    # What the platform tells is what is paid, in place of the estimate.
    assert made.compute_seconds > 0
    assert elsewhere.spent == Decimal(str(made.cost_usd)) < PRICE * 5


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": "x", "duration": 0.2, "seed": 2**32 - 1, "variations": 2, "model_version": None},
        {"prompts": ["a", "b"], "duration": 0.2, "seed": 3},
        {
            "prompt": "x",
            "sections": [{"prompt": "a", "duration": 1}, {"prompt": "b", "duration": 1.2}],
            "seed": 4,
            "output_format": "flac",
        },
    ],
)
def test_several_clips_and_sections_too(
    hybrid: GuardedDeployment, predictor: Predictor, fields: dict[str, Any]
) -> None:
    """Cog refuses a null, and makes one clip of a prediction."""
    wanted = [(data, seed) for data, seed, _ in _files(predictor, fields)]
    assert [(clip.data, clip.seed) for clip in make(hybrid, fields).clips] == wanted


def test_a_file_is_continued(
    hybrid: GuardedDeployment, predictor: Predictor, tmp_path: Path
) -> None:
    sent = tmp_path / "sent.wav"
    sf.write(sent, 0.5 * np.sin(np.arange(16_000) / 20), 32_000)
    fields = {"prompt": "x", "duration": 0.6, "seed": 1, "continuation": True, "input_audio": sent}
    [clip] = make(hybrid, fields).clips
    assert clip.data == _files(predictor, fields)[0][0]


def test_a_seed_that_was_not_given_is_told(hybrid: GuardedDeployment) -> None:
    fields = {"prompt": "x", "duration": 0.2}
    [clip] = make(hybrid, fields).clips
    assert make(hybrid, fields | {"seed": clip.seed}).clips[0].data == clip.data


def test_the_platforms_own_count_is_what_is_paid(
    elsewhere: Elsewhere, runpod_api: RunPodApi
) -> None:
    made = make(elsewhere.hybrid("runpod", "ep1"), FIELDS)
    assert made.compute_seconds == runpod_api.execution_ms / 1000
    assert elsewhere.spent == Decimal("0.0015")


def test_the_settings_are_all_it_needs(cog: Server) -> None:
    env = {
        "MUSICGEN_POLICY": "overflow",
        "MUSICGEN_REMOTE_TARGET": str(cog.client.base_url),
    }
    ledger = MemoryLedger()
    hybrid = GuardedDeployment.from_settings(Settings.from_env(env).remote, ledger)
    assert make(hybrid, FIELDS).cost_usd == 0
    assert not ledger.months, "nothing costs, and nothing is counted"


def test_what_the_other_side_refuses_of_a_request_is_nothing_against_it(
    hybrid: GuardedDeployment, tmp_path: Path
) -> None:
    """The demo follows no melody: only the other side can know that."""
    sent = tmp_path / "sent.wav"
    sf.write(sent, np.zeros(3200), 32_000)
    for _ in range(4):
        with pytest.raises(RemoteRefusal) as raised:
            make(hybrid, {"prompt": "x", "duration": 0.2, "input_audio": sent})
        assert raised.value.is_request_fault
        assert raised.value.code_there == "invalid_input_audio"
    assert hybrid.breaker.state == "closed" and hybrid.breaker.failures == 0
