"""The repository of an Inference Endpoint is complete and has a correct model card."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from huggingface_hub import constants

from handlers.hf_endpoint import MODEL_NAME_FILE, find_model
from infra.huggingface.layout import ROOT, LayoutError, lay_out, main
from infra.lock.files import FILES, is_cuda, read_locked
from musicgen import catalog
from musicgen.checkpoints.card import read_licence
from musicgen.checkpoints.locate import locate
from musicgen.checkpoints.pack import pack
from musicgen.errors import MusicGenError

DEMO = ROOT / "musicgen" / "demo" / "checkpoint"
[FILE] = [file for file in FILES if file.path == "infra/huggingface/requirements.txt"]
# Packages of the endpoint's image; its toolkit pins the first three.
IMAGE = {"torch": "2.5.1", "huggingface-hub": "0.30.2", "tokenizers": "0.21.4"}


def _front_matter(folder: Path) -> dict[str, Any]:
    text = (folder / "README.md").read_text(encoding="utf-8")
    matter: dict[str, Any] = yaml.safe_load(text.split("---\n")[1])
    return matter


def _copy_of_demo(folder: Path, card: str | None = None) -> Path:
    shutil.copytree(DEMO, folder, ignore=shutil.ignore_patterns("README.md"))
    if card is not None:
        (folder / "README.md").write_text(card)
    return folder


def test_the_repository_has_everything_the_endpoint_reads(tmp_path: Path) -> None:
    lay_out("demo", tmp_path / "out")
    placed = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*")}
    assert not [name for name in placed if "__pycache__" in name]
    top = {name for name in placed if "/" not in name}
    checkpoint = {file.name for file in DEMO.iterdir()} - {"curves.png"}
    own = {"handler.py", "handlers", "musicgen", "requirements.txt", "README.md", ".gitattributes"}
    assert top == own | checkpoint
    for package in ("handlers", "musicgen"):
        assert {name for name in placed if name.startswith(f"{package}/")} >= {
            str(path.relative_to(ROOT)) for path in (ROOT / package).rglob("*.py")
        }
    assert "musicgen/LICENSE" in placed
    assert find_model(tmp_path / "out") == str(tmp_path / "out")


def test_a_packed_file_is_all_of_a_model(tmp_path: Path) -> None:
    path = pack(locate("demo"), "plain-bfloat16", tmp_path).path
    lay_out(str(path), tmp_path / "out")
    placed = tmp_path / "out" / path.name
    assert placed.read_bytes() == path.read_bytes()
    assert not (tmp_path / "out" / "config.json").exists()
    assert find_model(tmp_path / "out") == str(tmp_path / "out")
    assert "apache-2.0" in (tmp_path / "out" / "README.md").read_text()
    lay_out("demo", tmp_path / "out", force=True)
    assert not placed.exists()


def test_a_disk_without_room_for_the_weights_is_refused_before_the_copy(tmp_path: Path) -> None:
    folder = _copy_of_demo(tmp_path / "model")
    with (folder / "large.json").open("wb") as file:
        file.truncate(shutil.disk_usage(tmp_path).free + 10**9)  # sparse: it takes no room itself
    with pytest.raises(LayoutError, match=r"needs .* GB for the weights \(.* GB free\)"):
        lay_out(str(folder), tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_the_weights_are_files_for_lfs(tmp_path: Path) -> None:
    lay_out("demo", tmp_path / "out")
    lines = (tmp_path / "out" / ".gitattributes").read_text().splitlines()
    assert "*.safetensors filter=lfs diff=lfs merge=lfs -text" in lines
    wanted = {"*.packed", "*.safetensors", "*.bin", "spiece.model"}
    assert {line.split()[0] for line in lines} == wanted


def test_only_the_weights_that_are_loaded_are_copied(tmp_path: Path) -> None:
    """Repositories often have the same weights as .bin files too."""
    source = _copy_of_demo(tmp_path / "model")
    (source / "pytorch_model.bin").write_bytes(b"the same again")
    (source / "notes.txt").write_text("not a part of the model")
    lay_out(str(source), tmp_path / "out")
    assert (tmp_path / "out" / "model.safetensors").is_file()
    assert not (tmp_path / "out" / "pytorch_model.bin").exists()
    assert not (tmp_path / "out" / "notes.txt").exists()
    (source / "model.safetensors").unlink()
    lay_out(str(source), tmp_path / "again")
    assert (tmp_path / "again" / "pytorch_model.bin").is_file()


@pytest.mark.parametrize("model", ["small", "facebook/musicgen-small"])
def test_meta_s_weights_keep_their_licence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    repository = tmp_path / "hub" / "models--facebook--musicgen-small"
    _copy_of_demo(repository / "snapshots" / ("0" * 40))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    out = tmp_path / "out"
    lay_out(model, out)
    matter = _front_matter(out)
    assert matter["license"] == "cc-by-nc-4.0"
    assert matter["base_model"] == "facebook/musicgen-small"
    assert "no commercial use" in (out / "README.md").read_text()
    assert read_licence(out) == catalog.MUSICGEN_LICENCE, "the endpoint tells it with each clip"


@pytest.mark.parametrize(
    ("card", "licence"), [("---\nlicense: mit\n---\n", "mit"), (None, "unknown")]
)
def test_a_folder_s_licence_is_handed_on_and_its_place_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, card: str | None, licence: str
) -> None:
    _copy_of_demo(tmp_path / "owner" / "name", card)
    monkeypatch.chdir(tmp_path)
    lay_out("owner/name", tmp_path / "out")
    matter = _front_matter(tmp_path / "out")
    assert matter["license"] == licence
    assert "base_model" not in matter, "a folder that is called like a hub's repository"
    assert "owner" not in (tmp_path / "out" / "README.md").read_text()


def test_a_licence_with_a_name_of_its_own_is_handed_on(tmp_path: Path) -> None:
    """Guards against an endpoint whose card says that the licence is unknown."""
    card = "---\nlicense: other\nlicense_name: mine NC\nlicense_link: https://me.example/l\n---\n"
    lay_out(str(_copy_of_demo(tmp_path / "model", card)), tmp_path / "out")
    assert _front_matter(tmp_path / "out")["license"] == "other"
    assert read_licence(tmp_path / "out") == "mine NC (https://me.example/l)"


@pytest.mark.parametrize("entry", catalog.CATALOG.values(), ids=lambda entry: entry.name)
def test_a_named_model_needs_no_weights_here(tmp_path: Path, entry: catalog.CatalogEntry) -> None:
    lay_out(entry.name, tmp_path, with_weights=False)
    assert find_model(tmp_path) == entry.name
    assert not list(tmp_path.glob("*.safetensors"))
    assert _front_matter(tmp_path)["license"] == entry.licence.lower()


def test_a_folder_cannot_be_named_without_weights(tmp_path: Path) -> None:
    source = _copy_of_demo(tmp_path / "model")
    with pytest.raises(LayoutError, match="OWNER/NAME"):
        lay_out(str(source), tmp_path / "out", with_weights=False)
    assert not (tmp_path / "out").exists()


def test_a_folder_with_something_in_it_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    assert main(["--model", "demo", "--output", str(tmp_path)]) == 2
    assert "--force" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_force_leaves_nothing_of_the_layout_before(tmp_path: Path) -> None:
    """Otherwise the endpoint would load the old checkpoint."""
    lay_out("demo", tmp_path)
    (tmp_path / "handlers" / "gone.py").write_text("")
    (tmp_path / ".git").mkdir()
    lay_out("small", tmp_path, with_weights=False, force=True)
    assert find_model(tmp_path) == "small"
    assert not (tmp_path / "handlers" / "gone.py").exists()
    assert (tmp_path / ".git").is_dir()
    lay_out("demo", tmp_path, force=True)
    assert not (tmp_path / MODEL_NAME_FILE).exists()
    assert find_model(tmp_path) == str(tmp_path)


@pytest.mark.parametrize("place", [".", "..", "musicgen", "handlers/new", "musicgen/demo"])
def test_the_project_itself_is_never_written_into(place: str) -> None:
    # Without force: a layout without this check must not clear the checkout under test.
    with pytest.raises(LayoutError, match="overlaps"):
        lay_out("demo", ROOT / place)
    assert (ROOT / "handler.py").is_file()
    assert not (ROOT / "handlers" / "new").exists()


@pytest.mark.parametrize("place", [".", "inside", ".."])
def test_the_model_s_own_folder_is_never_written_into(tmp_path: Path, place: str) -> None:
    source = _copy_of_demo(tmp_path / "model")
    with pytest.raises(LayoutError, match="overlaps"):
        lay_out(str(source), source / place, force=True)
    assert (source / "model.safetensors").is_file()


def test_the_command_tells_how_to_upload(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--model", "demo", "--output", str(tmp_path / "out")]) == 0
    assert f"hf upload OWNER/NAME {tmp_path / 'out'} ." in capsys.readouterr().out


def test_an_unknown_model_lays_out_nothing(tmp_path: Path) -> None:
    with pytest.raises(MusicGenError):
        lay_out("huge", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_requirements_leave_out_torch() -> None:
    """A replacement of the image's torch would download gigabytes at every start."""
    assert not [each for each, _ in read_locked(ROOT / FILE.path) if is_cuda(each.name)]


@pytest.mark.parametrize("package", sorted(set(IMAGE) - {"torch"}))
def test_what_the_image_s_own_libraries_pin_is_not_replaced(package: str) -> None:
    """Its transformers needs one minor version of tokenizers."""
    [requirement] = [each for each, _ in read_locked(ROOT / FILE.path) if each.name == package]
    assert IMAGE[package] in requirement.specifier
