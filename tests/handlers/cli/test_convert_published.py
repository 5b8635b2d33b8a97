"""`musicgen convert NAME`: the files, and what they only name, come from the hub."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import constants, utils

from handlers.cli import main as cli
from musicgen.catalog import CONVERTIBLE, MERT
from musicgen.checkpoints.locate import locate
from musicgen.model.config import MusicGenConfig
from tests.support import audiogen, style
from tests.support.hub_mirror import hub_mirror

ENTRY = CONVERTIBLE["audiogen-medium"]


def _read(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("has_card", [True, False])
def test_a_name_brings_the_files_the_text_encoder_and_the_licence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_card: bool
) -> None:
    """Without a card, the licence of the text encoder would have allowed commercial use."""
    audiogen.write_inputs(tmp_path)
    files = _read(tmp_path / "files")
    if not has_card:
        del files["README.md"]
    output = tmp_path / "audiogen-medium"
    assert ENTRY.text_encoder is not None
    repositories = {ENTRY.source: files, ENTRY.text_encoder: _read(tmp_path / "t5")}
    _convert(ENTRY.name, output, repositories, monkeypatch)
    assert MusicGenConfig.from_folder(output).sample_rate == ENTRY.sample_rate
    assert locate(str(output)).licence == "CC-BY-NC-4.0, base model Apache-2.0"


def test_a_style_model_brings_mert_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = CONVERTIBLE["musicgen-style"]
    style.write_inputs(tmp_path)
    assert entry.text_encoder is not None
    names = {"files": entry.source, "base": entry.text_encoder, "mert": MERT}
    repositories = {name: _read(tmp_path / folder) for folder, name in names.items()}
    _convert(entry.name, tmp_path / "new", repositories, monkeypatch)
    assert MusicGenConfig.from_folder(tmp_path / "new").family == "style"
    assert locate(str(tmp_path / "new")).licence == entry.licence


def test_a_folder_needs_a_base_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["convert", str(tmp_path), "-o", str(tmp_path / "new")]) == 2
    assert "--base must name the base model" in capsys.readouterr().err


def _convert(
    name: str,
    output: Path,
    repositories: dict[str, dict[str, bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Convert a published model with the hub's `repositories`."""
    with hub_mirror(repositories) as mirror:
        monkeypatch.setattr(constants, "ENDPOINT", mirror.url)
        template = mirror.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(output.parent / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True, raising=False)
        if hasattr(utils, "close_session"):
            utils.close_session()
        assert cli.main(["convert", name, "-o", str(output)]) == 0
        if hasattr(utils, "close_session"):
            utils.close_session()
