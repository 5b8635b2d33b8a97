"""The licence of weights comes from their model card, wherever the files come from."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from musicgen import catalog
from musicgen.catalog import UNKNOWN_LICENCE
from musicgen.checkpoints.card import (
    build_licence,
    combine_licences,
    read_licence,
    render_licence,
)
from musicgen.checkpoints.download import fetch
from musicgen.checkpoints.local import find_licence
from musicgen.checkpoints.locate import locate
from musicgen.checkpoints.pack import pack
from musicgen.settings import Settings
from tests.support import ROOT
from tests.support.hub_mirror import Mirror, hub_mirror

CARD = b"---\nlicense: cc-by-nc-sa-4.0\n---\n# A tune\n"
ADAPTER = b'{"base_model_name_or_path": "me/tune"}'
LOCATE = "import sys; from musicgen.checkpoints.locate import locate; print(locate(sys.argv[1]).{})"
DEMO = Path("musicgen/demo/checkpoint")


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("license: other\nlicense_name: my-own\n", "my-own"),
        (
            "license: other\nlicense_name: 'My own 1.0'\nlicense_link: https://me.example/l # x\n",
            "My own 1.0 (https://me.example/l)",
        ),
        ("license: other\nlicense_name: mine\nlicense_link: LICENSE\n", "mine"),
        ("license: mit\nlicense_name: mine\n", "mit"),
        ('license: "mit"\n', "mit"),
        ("license: other\nlicense_link: https://me.example/l\n", UNKNOWN_LICENCE),
        ("license: other\nlicense_name: a\x1b[31mb\n", UNKNOWN_LICENCE),
        (f"license: other\nlicense_name: {'x' * 201}\n", UNKNOWN_LICENCE),
        ("model:\n  license: mit\n", UNKNOWN_LICENCE),
        ("license: &a [*a]\n", UNKNOWN_LICENCE),
    ],
)
def test_a_card_may_name_a_licence_of_its_own(tmp_path: Path, card: str, licence: str) -> None:
    (tmp_path / "README.md").write_text(f"---\n{card}---\n")
    assert read_licence(tmp_path) == licence


@pytest.mark.parametrize(
    "licence",
    [
        *("mit", "CC-BY-NC-4.0", "Apache-2.0", UNKNOWN_LICENCE, "my-own (https://me.example/l)"),
        *(combine_licences("mit", "CC-BY-NC-4.0"), combine_licences("mit", UNKNOWN_LICENCE)),
        combine_licences("my-own (https://me.example/l)", "CC-BY-NC-4.0"),
    ],
)
def test_a_written_licence_is_read_back(tmp_path: Path, licence: str) -> None:
    """Guards against a converted fine-tune that loses the licence of its base model."""
    (tmp_path / "README.md").write_text(f"---\n{render_licence(licence)}---\n")
    assert read_licence(tmp_path) == licence


def test_both_licences_of_a_fine_tune_apply() -> None:
    combined = combine_licences("mit", catalog.MUSICGEN_LICENCE)
    assert combined == "mit, base model CC-BY-NC-4.0"
    assert catalog.forbids_commerce(combined)
    assert combine_licences(UNKNOWN_LICENCE, "mit") == combine_licences("mit", "mit") == "mit"
    assert not catalog.forbids_commerce("cc-by-4.0") and catalog.forbids_commerce("cc-by-nc-2.0")
    assert build_licence(["mit"]) == build_licence(None) == UNKNOWN_LICENCE


@pytest.fixture(scope="module")
def mirror() -> Iterator[Mirror]:
    demo = {path.name: path.read_bytes() for path in (ROOT / DEMO).iterdir()}
    bare = {name: data for name, data in demo.items() if name != "README.md"}
    adapter = {"adapter_config.json": ADAPTER, "adapter_model.safetensors": b""}
    models = {
        "me/tune": {**demo, "README.md": CARD},
        "me/bare": bare,
        "me/adapter": {**adapter, "README.md": b"---\nlicense: mit\n---\n"},
    }
    with hub_mirror(models) as running:
        yield running


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hub")


def _run(mirror: Mirror, cache: Path, *command: str, **more: str) -> str:
    """Run Python in a process of its own: huggingface_hub reads its settings at import."""
    hub = {"HF_ENDPOINT": mirror.url, "HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": "0"}
    environment = {**os.environ, **hub, "HF_HUB_DISABLE_XET": "1", **more}
    ended = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    return ended.stdout.strip() or ended.stderr


@pytest.mark.parametrize(
    ("name", "licence"),
    [
        ("me/tune", "cc-by-nc-sa-4.0"),
        ("me/bare", UNKNOWN_LICENCE),
        ("me/adapter", "mit, base model cc-by-nc-sa-4.0"),
    ],
)
def test_a_model_of_the_hub_has_the_licence_of_its_card(
    mirror: Mirror, cache: Path, name: str, licence: str
) -> None:
    """Guards against a download without the card; a model without one is complete too."""
    before = len(mirror.asked)
    assert _run(mirror, cache, "-c", LOCATE.format("licence"), name) == licence
    cards = [p for m, p in mirror.asked[before:] if m == "GET" and p.endswith("README.md")]
    assert bool(cards) is (name != "me/bare")
    offline = _run(mirror, cache, "-c", LOCATE.format("licence"), name, HF_HUB_OFFLINE="1")
    assert offline == licence, "the card stays in the cache"


def test_the_doctor_asks_the_hub_for_a_licence_before_the_download(
    mirror: Mirror, tmp_path: Path
) -> None:
    settings = {"MUSICGEN_MODEL": "me/tune", "MUSICGEN_DATA_DIR": str(tmp_path / "data")}
    said = _run(mirror, tmp_path, "-m", "handlers.cli", "doctor", "worker", **settings)
    assert "cc-by-nc-sa-4.0: no commercial use" in said
    assert not list(tmp_path.glob("models--*/snapshots/*/*.safetensors"))


def _copy(folder: Path, card: bytes | None) -> Path:
    shutil.copytree(ROOT / DEMO, folder, ignore=shutil.ignore_patterns("README.md"))
    if card is not None:
        (folder / "README.md").write_bytes(card)
    return folder


def test_an_archive_has_the_licence_of_its_card_once_unpacked(tmp_path: Path) -> None:
    archive = tmp_path / "tune.tar"
    with tarfile.open(archive, "w") as tape:
        tape.add(_copy(tmp_path / "tune", CARD), "tune")
    settings = Settings(model=str(archive), weights_dir=tmp_path / "weights")
    assert find_licence(settings) == UNKNOWN_LICENCE
    assert locate(str(fetch(str(archive), settings))).licence == "cc-by-nc-sa-4.0"
    assert find_licence(settings) == "cc-by-nc-sa-4.0"


def test_a_packed_file_keeps_the_licence_of_the_card(tmp_path: Path) -> None:
    tune = locate(str(_copy(tmp_path / "tune", CARD)))
    assert locate(str(pack(tune, "plain-bfloat16", tmp_path).path)).licence == "cc-by-nc-sa-4.0"


def test_a_card_beside_an_older_packed_file_tells_its_licence(tmp_path: Path) -> None:
    tune = locate(str(_copy(tmp_path / "tune", None)))
    packed = pack(tune, "plain-bfloat16", tmp_path / "packed").path
    assert locate(str(packed.parent)).licence == UNKNOWN_LICENCE
    (packed.parent / "README.md").write_bytes(CARD)
    assert locate(str(packed.parent)).licence == "cc-by-nc-sa-4.0"
    assert locate(str(packed)).licence == UNKNOWN_LICENCE, "another file's folder may be anybody's"


def test_an_adapter_s_licence_names_its_base_model_s(tmp_path: Path) -> None:
    base, adapter = _copy(tmp_path / "base", None), tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(f'{{"base_model_name_or_path": "{base}"}}')
    assert locate(str(adapter)).licence == UNKNOWN_LICENCE
    (adapter / "README.md").write_bytes(CARD)
    settings = Settings(model=str(adapter))
    for licence in (locate(str(adapter)).licence, find_licence(settings)):
        assert licence == "cc-by-nc-sa-4.0, base model unknown"
    demo = Settings(model=str(adapter), base_model="demo")
    assert find_licence(demo) == "cc-by-nc-sa-4.0, base model Apache-2.0"
