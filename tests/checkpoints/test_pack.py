"""Packing a checkpoint: the same bytes every time, resumed after a kill, nothing lost."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from bench.full_size import FULL_SIZES
from bench.random_checkpoints import build_config
from musicgen.checkpoints import pack as packing
from musicgen.checkpoints.locate import locate
from musicgen.checkpoints.pack import pack
from musicgen.checkpoints.packed.format import (
    FORMS,
    check_hashes,
    find_packed_files,
    read_header,
)
from musicgen.checkpoints.packed.layouts import Packing
from musicgen.engine.loading import load_engine
from musicgen.errors import (
    CheckpointError,
    DiskFull,
    UnsupportedCheckpoint,
)
from musicgen.model.config import _parse
from musicgen.settings import Settings
from tests.support import ROOT
from tests.support.packs import pack_folder


@pytest.mark.parametrize("form", FORMS)
def test_packing_again_gives_the_same_bytes(
    checkpoints: Callable[[str], Path],
    packed: Callable[[str, str], Path],
    tmp_path: Path,
    form: str,
) -> None:
    again = pack_folder(checkpoints("musicgen-small"), form, tmp_path).path
    assert again.read_bytes() == packed("musicgen-small", form).read_bytes()
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".lock", ".packed"], "nothing is left"


def test_the_manifest_says_what_it_was_packed_from(
    checkpoints: Callable[[str], Path], packed: Callable[[str, str], Path]
) -> None:
    path = packed("musicgen-small", "native-int8")
    manifest = check_hashes(path)
    weights = checkpoints("musicgen-small") / "model.safetensors"
    assert manifest.source_files == {weights.name: hashlib.sha256(weights.read_bytes()).hexdigest()}
    assert manifest.source == "musicgen-small" and manifest.revision is None
    assert manifest.versions.keys() == {"musicgen", "torch"}


def test_the_revision_is_the_hub_s_commit(
    checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    snapshot = tmp_path / "snapshots" / "0123abc"
    shutil.copytree(checkpoints("musicgen-small"), snapshot)
    report = pack_folder(snapshot, "plain-float32", tmp_path)
    assert report.manifest.revision == "0123abc"
    settings = Settings(precision="float32", revision="0123abc")
    load_engine(report.path, "small", settings).close()


@pytest.mark.parametrize("form", ["native-bfloat16", "plain-bfloat16"])
def test_weights_that_16_bits_cannot_hold_are_not_packed(
    checkpoints: Callable[[str], Path], tmp_path: Path, form: str
) -> None:
    folder = tmp_path / "large-weights"
    shutil.copytree(checkpoints("musicgen-small"), folder)
    weights = load_file(folder / "model.safetensors")
    weights["decoder.model.decoder.layers.0.fc1.weight"][0, 0] = 3.4e38
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UnsupportedCheckpoint, match=r"layers\.0\.up.*float32"):
        pack_folder(folder, form, tmp_path)
    assert not find_packed_files(tmp_path)


KILLED = """
import os, signal, sys
from pathlib import Path
from musicgen.checkpoints.pack import pack
from musicgen.checkpoints.locate import locate
def tell(name, done, of):
    if done == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
pack(locate(sys.argv[1]), "native-int8", Path(sys.argv[2]), tell)
"""


def test_a_killed_pack_goes_on_and_harms_no_earlier_one(
    checkpoints: Callable[[str], Path], packed: Callable[[str, str], Path], tmp_path: Path
) -> None:
    folder, wanted = checkpoints("musicgen-small"), packed("musicgen-small", "native-int8")
    earlier = tmp_path / "musicgen-small.native-int8.packed"
    shutil.copy(packed("musicgen-small", "plain-float32"), earlier)
    before = earlier.read_bytes()
    done = subprocess.run([sys.executable, "-c", KILLED, folder, tmp_path, "20"], cwd=ROOT)
    assert done.returncode == -signal.SIGKILL
    assert earlier.read_bytes() == before
    check_hashes(earlier)
    report = pack_folder(folder, "native-int8", tmp_path)
    assert report.resumed == 20
    assert report.path.read_bytes() == wanted.read_bytes()


def test_a_half_written_weight_is_packed_again(
    checkpoints: Callable[[str], Path], packed: Callable[[str, str], Path], tmp_path: Path
) -> None:
    """The system may have lost what the journal says was written."""
    folder, wanted = checkpoints("musicgen-small"), packed("musicgen-small", "native-int8")
    subprocess.run([sys.executable, "-c", KILLED, folder, tmp_path, "20"], cwd=ROOT)
    (partial,) = tmp_path.glob(".*.partial")
    content = bytearray(partial.read_bytes())
    (journal,) = tmp_path.glob(".*.journal")
    last = json.loads(journal.read_text().splitlines()[-1])
    (hashes,) = last.values()
    start, _ = read_header(wanted)[0].places[next(iter(hashes))]
    content[start] ^= 255
    partial.write_bytes(content)
    with journal.open("a") as file:
        file.write('{"a line that was cut')
    report = pack_folder(folder, "native-int8", tmp_path)
    assert report.resumed == 19
    assert report.path.read_bytes() == wanted.read_bytes()


def test_another_checkpoint_does_not_go_on_from_this_one(
    checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = tmp_path / "musicgen-small"
    shutil.copytree(checkpoints("musicgen-small"), folder)
    subprocess.run([sys.executable, "-c", KILLED, folder, tmp_path, "20"], cwd=ROOT)
    weights = load_file(folder / "model.safetensors")
    weights["enc_to_dec_proj.bias"] += 1
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    report = pack_folder(folder, "native-int8", tmp_path)
    assert report.resumed == 0
    fresh = pack_folder(folder, "native-int8", tmp_path / "fresh").path
    assert report.path.read_bytes() == fresh.read_bytes()


def test_a_full_disk_is_said_and_leaves_the_earlier_file(
    checkpoints: Callable[[str], Path],
    packed: Callable[[str, str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    earlier = tmp_path / "musicgen-small.native-int8.packed"
    shutil.copy(packed("musicgen-small", "plain-float32"), earlier)
    script = """
import resource, signal, sys
from pathlib import Path
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
from handlers.cli.main import main
sys.exit(main(["pack", sys.argv[1], "-o", sys.argv[2]]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, checkpoints("musicgen-small"), tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert f"no room in {tmp_path}" in done.stderr and "free some space" in done.stderr
    check_hashes(earlier)
    with pytest.raises(DiskFull):
        _raise_full(monkeypatch, checkpoints("musicgen-small"), tmp_path)


def _raise_full(monkeypatch: pytest.MonkeyPatch, folder: Path, output: Path) -> None:
    def full(*_: object) -> int:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(packing.os, "pwrite", full)
    pack_folder(folder, "native-int8", output / "other")


def test_two_packs_of_one_file_do_not_meet(
    checkpoints: Callable[[str], Path], packed: Callable[[str, str], Path], tmp_path: Path
) -> None:
    folder = checkpoints("musicgen-small")
    command = [sys.executable, "-m", "handlers.cli", "pack", str(folder), "-o", str(tmp_path)]
    both = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [each.wait(120) for each in both] == [0, 0]
    (found,) = find_packed_files(tmp_path)
    assert found.read_bytes() == packed("musicgen-small", "native-int8").read_bytes()


def test_a_packed_file_is_not_packed_again(
    packed: Callable[[str, str], Path], tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match="already a packed file"):
        pack(locate(str(packed("musicgen-small", "plain-float32"))), "native-int8", tmp_path)


@pytest.mark.parametrize(
    ("name", "form", "most"),
    [
        ("musicgen-small", "native-int8", 0.39),
        ("musicgen-small", "plain-bfloat16", 0.56),
        ("musicgen-large", "native-int8", 0.29),
        ("musicgen-large", "plain-bfloat16", 0.51),
        ("musicgen-stereo-melody", "native-int8", 0.33),
    ],
)
def test_a_packed_file_s_share_of_a_full_size_float32_checkpoint(
    name: str, form: str, most: float
) -> None:
    """From shapes alone. The codec stays in float32, which counts in a small model."""
    config = _parse(build_config(FULL_SIZES[name]).to_dict(), {})
    made = Packing(config, form)
    size = sum(shape.bytes for weight in made.weights for shape in made.describe(weight).values())
    assert size <= most * 4 * sum(weight.numel() for weight in made.weights.values())


def test_the_command_says_bytes_and_licence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from handlers.cli.main import main

    assert main(["pack", "demo", "-o", str(tmp_path), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["licence"] == "Apache-2.0"
    assert 0 < report["after"] < report["before"]
    path = Path(report["path"])
    assert main(["pack", "--check", str(path)]) == 0
    assert "is intact: demo as native-int8" in capsys.readouterr().out
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    assert main(["pack", "--check", str(path)]) == 1
    assert "differs from its hash" in capsys.readouterr().err
    assert main(["pack"]) == 2


def test_a_packed_file_has_the_name_and_licence_of_its_model(tmp_path: Path) -> None:
    path = pack(locate("demo"), "native-int8", tmp_path / "mine.packed").path
    for place in (path, tmp_path):
        found = locate(str(place))
        assert (found.name, found.label, found.licence) == (str(place), "demo", "Apache-2.0")
    odd = replace(locate("demo"), name="OWNER/NAME")
    assert pack(odd, "native-int8", tmp_path).path.name == "OWNER--NAME.native-int8.packed"
