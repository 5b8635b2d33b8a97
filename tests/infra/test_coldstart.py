"""Cold start tools, with real servers on the demo and on toy checkpoints."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.coldstart import diet
from infra.coldstart.bench import summarize
from infra.coldstart.servers import Start, StartFailed, build_naive, build_ours, start_once
from infra.coldstart.trace import cog_timeline, format_table, plot
from musicgen.checkpoints.locate import locate
from musicgen.checkpoints.pack import pack
from tests.support import ROOT


def test_a_start_of_our_server_tells_its_phases() -> None:
    start = start_once(*build_ours("demo", "auto"), seconds=0.2)
    assert 0 < start.phases["ready"] < start.phases["first_audio"]
    assert start.phases["ready"] < start.first_audio
    assert start.ready < start.first_audio and start.cpu > 0


def test_a_start_of_the_naive_server(checkpoints: Callable[[str], Path]) -> None:
    start = start_once(*build_naive(checkpoints("musicgen-small"), "float32"), seconds=0.2)
    assert 0 < start.ready < start.first_audio and not start.phases


def test_a_server_that_cannot_start_says_why() -> None:
    with pytest.raises(StartFailed, match=r"model must be one of .*was 'no-such-model'"):
        start_once(*build_ours("no-such-model", "auto"), seconds=0.2)


def test_the_bench_counts_every_start() -> None:
    starts = {
        "musicgen": [Start(1.0, 2.0, 3.0, 0), Start(2.0, 2.0, 3.0, 0), Start(1.0, 4.0, 1.0, 0)],
        "naive": [Start(5.0, 6.0, 9.0, 0), Start(5.0, 8.0, 9.0, 0), Start(6.0, 8.0, 9.0, 0)],
    }
    found = summarize(starts)
    assert found["ready"]["ratios"] == [5.0, 2.5, 6.0] and found["ready"]["ratio"] == 5.0
    assert found["first_audio"]["naive"] == {"median": 8.0, "min": 6.0, "max": 8.0}
    assert len(found["runs"]["naive"]) == 3
    assert "before_ratio" not in found["ready"]
    starts["before"] = [*starts["naive"][:2], Start(3.0, 8.0, 9.0, 0)]
    both = summarize(starts)["ready"]
    assert both["before_ratios"] == [5.0, 2.5, 3.0] and both["before_ratio"] == 3.0
    assert both["ratios"] == [5.0, 2.5, 6.0]


@pytest.mark.slow
def test_the_bench_itself(tmp_path: Path) -> None:
    path = pack(locate("demo"), "native-float32", tmp_path).path
    command = [sys.executable, "-m", "infra.coldstart.bench", "--pairs", "2", "--states", "warm"]
    arguments = ["--checkpoint", locate("demo").folder, "--packed", path, "--seconds", "0.2"]
    arguments += ["--before", ROOT]
    done = subprocess.run(
        [*command, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    measures = {"warm ready", "warm first_audio", "warm cpu"}
    assert result["name"] == "coldstart" and result["ratios"].keys() == measures
    assert all(len(runs) == 2 for runs in result["warm"]["runs"].values())
    assert result["warm"]["runs"].keys() == {"musicgen", "naive", "before"}


def test_the_timeline_as_table_and_picture(tmp_path: Path) -> None:
    timeline = cog_timeline("demo", "auto", 0.2)
    assert next(iter(timeline)) == "server" and timeline["server"] > 0
    lines = format_table(timeline).splitlines()
    assert len(lines) == len(timeline) and lines[-1].startswith("first audio")
    plot({"cog": timeline, "again": timeline}, tmp_path / "trace.png")
    assert (tmp_path / "trace.png").stat().st_size > 5000


def test_the_trace_ends_with_json() -> None:
    command = [sys.executable, "-m", "infra.coldstart.trace", "--seconds", "0.2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["name"] == "coldstart-trace" and "first_audio" in result["timeline"]


def _site(folder: Path) -> Path:
    """Write a small folder with the layout of site-packages."""
    for name in (
        "torch/__init__.py",
        "torch/test/x.py",
        "torch/bin/protoc",
        "torch/bin/torch_shm_manager",
        "torch/include/a/b.h",
        "torch/nn/functional.pyi",
        "sympy/core/tests/test_x.py",
        "numpy/_core/tests/_natype.py",
        "numpy/linalg/tests/test_x.py",
        "pip/__init__.py",
        "setuptools-70.0.dist-info/METADATA",
        "botocore/docs/__init__.py",
        "botocore/data/endpoints.json",
        "botocore/data/s3/2006-03-01/service-2.json",
        "botocore/data/ec2/2016-11-15/service-2.json",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x = 1\n")
    return folder


def test_the_diet_takes_what_its_rules_say_and_no_more(tmp_path: Path) -> None:
    site = _site(tmp_path / "site")
    would = diet.prune(site, dry_run=True)
    assert len([p for p in site.rglob("*") if p.is_file()]) == 15
    assert diet.prune(site) == would
    left = {str(p.relative_to(site)) for p in site.rglob("*") if p.is_file()}
    assert left == {
        "torch/__init__.py",
        "torch/bin/torch_shm_manager",
        "numpy/_core/tests/_natype.py",
        "botocore/docs/__init__.py",
        "botocore/data/endpoints.json",
        "botocore/data/s3/2006-03-01/service-2.json",
    }
    assert sum(would.values()) == 9 * len("x = 1\n")


def test_a_diet_without_music_imports_a_module_from_its_packages(tmp_path: Path) -> None:
    """For the image without torch. A module of the checkout beside it must not be the proof."""
    site = _site(tmp_path / "site")
    (site / "musicgen").mkdir()
    (site / "musicgen/__init__.py").write_text("import torch\n")
    assert diet.main(["--site-packages", str(site), "--import", "musicgen"]) == 0
    shutil.rmtree(site / "torch")
    assert diet.main(["--site-packages", str(site), "--import", "musicgen"]) == 1
    assert diet.main(["--site-packages", str(site), "--import", "handlers"]) == 1


@pytest.mark.slow
def test_music_is_still_made_after_the_diet(tmp_path: Path) -> None:
    """The diet runs on a copy of the installed packages."""
    import sysconfig

    site = tmp_path / "site"
    shutil.copytree(sysconfig.get_path("purelib"), site, symlinks=True)
    result = tmp_path / "result.json"
    assert diet.main(["--site-packages", str(site), "--save", str(result)]) == 0
    said = json.loads(result.read_text())
    assert said["generates"] and said["modules_without_bytecode"] == 0
    assert said["mb_by_rule"]["headers and static libraries"] > 20
    shutil.rmtree(site / "numpy")
    assert not diet.generates(site), "the proof can fail"
