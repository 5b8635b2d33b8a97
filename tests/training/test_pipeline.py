"""From two trained parts to a checkpoint with its figures and its card."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from musicgen.evaluation.evaluate import EvaluationPlan
from musicgen.model.encodec import Codec
from musicgen.predictor import Predictor
from musicgen.request import GenerationRequest
from musicgen.settings import Settings
from training import __main__ as pipeline
from training.codec import report
from training.codec.train import CONFIG
from training.export import FILES
from training.language_model.model import make_model


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a training that stopped before it began."""
    folder = tmp_path_factory.mktemp("training")
    codec, language_model = folder / "codec", folder / "language-model"
    for part in (codec, language_model):
        part.mkdir()
    untrained = Codec(CONFIG)
    generator = torch.Generator().manual_seed(1)
    for weights in untrained.parameters():
        torch.nn.init.normal_(weights, std=0.05, generator=generator)
    torch.save({"codec": untrained.state_dict()}, codec / "codec.pt")
    torch.save({"model": make_model().state_dict()}, language_model / "language_model.pt")
    figures = {"si_sdr": 4.25, "si_sdr_unquantized": 8.0, "spectral_distance": 5.5}
    nats = {name: [6.0] * 4 for name in ("own prompt", "guided", "no prompt", "another prompt")}
    _write_curve(codec, figures)
    _write_curve(language_model, nats)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "HELD_OUT_CLIPS", 2)
        patch.setattr(report, "HELD_OUT_CLIPS", 2)
        return pipeline.finish(folder, threads=1, plan=EvaluationPlan(1, seconds=0.6))


def _write_curve(folder: Path, figures: dict[str, object]) -> None:
    lines = [{"minutes": minutes, "steps": 100 * minutes} | figures for minutes in (0, 7)]
    (folder / "curve.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_the_card_holds_every_figure(finished: Path) -> None:
    card = (finished / "README.md").read_text(encoding="utf-8")
    assert "{" not in card and " nan" not in card
    assert "| block-PCA start | 4.2 dB | 5.50 |" in card
    assert "| trained for | 7 minutes, 700 steps | 7 minutes, 700 steps |" in card
    for measured in ("| trained |", "| untrained |", "| own prompt |", "guidance 3", "/1 = "):
        assert measured in card
    assert (finished / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_the_figures_are_kept_as_json_too(finished: Path) -> None:
    figures = json.loads((finished.parent / "figures.json").read_text())
    assert figures["codec"]["untrained"]["si_sdr"] < 0
    assert figures["evaluation"]["likelihood"]["clips"] == 2
    assert [each["clips"] for each in figures["evaluation"]["adherence"]] == [10, 10]


def test_a_checkpoint_with_its_card_is_loaded(finished: Path, tmp_path: Path) -> None:
    assert {path.name for path in finished.iterdir()} == FILES | {"README.md", "curves.png"}
    predictor = Predictor.load(Settings(model=str(finished), threads=1, data_dir=tmp_path))
    made = predictor.generate(GenerationRequest(prompt="slow piano", duration=0.5, seed=1))
    assert made.clips[0].samples == 16_000
