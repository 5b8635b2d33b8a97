"""The command line as a user types it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

from handlers.cli import generate
from handlers.cli import main as cli
from handlers.cli.options import parse_request
from musicgen.engine.engine import MusicGenEngine
from musicgen.evaluation import verify
from musicgen.remote.fields import build_fields
from musicgen.request import GenerationRequest, request_fields
from musicgen.request.fields import FieldSpec
from tests.support import ROOT
from tests.support.disks import full_disk, small_disk, tree


def _musicgen(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "handlers.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)


def test_generate_writes_the_file_and_tells_the_facts(tmp_path: Path) -> None:
    out = tmp_path / "new" / "clip.flac"
    done = _musicgen("generate", "calm piano", "--duration", "1", "--seed", "0", "-o", str(out))
    assert done.returncode == 0, done.stderr
    assert sf.info(out).frames == 32000 and sf.info(out).format == "FLAC"
    for fact in (str(out), "1 s", "seed 0", "real-time factor", "licence Apache-2.0", "note:"):
        assert fact in done.stdout
    assert re.search(r"^decoding: \d+ of \d+ steps", done.stderr, re.M)
    assert "\r" not in done.stderr


def test_generate_plots(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plot = tmp_path / "clip.png"
    status = cli.main(
        [
            "generate",
            "piano",
            "--duration",
            "0.5",
            "-o",
            str(tmp_path / "c.wav"),
            "--plot",
            str(plot),
            "--json",
        ]
    )
    assert status == 0
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert json.loads(capsys.readouterr().out)["clips"][0]["samples"] == 16000


def test_a_plot_that_cannot_be_made_is_said_before_or_after_but_never_as_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "c.wav")
    with small_disk(tmp_path / "disk", 1) as disk, full_disk(disk):
        arguments = ["generate", "piano", "--duration", "0.2", "-o", out]
        arguments += ["--plot", str(disk / "clip.png")]
        assert cli.main(arguments) == 1
        captured = capsys.readouterr()
        assert "cannot write the plot" in captured.err and out in captured.out
        assert tree(disk) == ["filler"]
    Path(out).unlink()
    monkeypatch.setattr(generate, "find_spec", lambda _: None)
    assert cli.main(arguments) == 78
    assert "pip install -e '.[plot]'" in capsys.readouterr().err
    assert not Path(out).exists()


def _arguments(example: Mapping[str, Any]) -> list[str]:
    """The command line of a request."""
    arguments = list(example.get("prompts", [example.get("prompt", "")]))
    for name, value in example.items():
        option = request_fields()[name].option or "--model"
        if isinstance(value, bool):
            arguments.append(option)
        elif name not in ("prompt", "prompts"):
            arguments += [option, json.dumps(value) if isinstance(value, list) else str(value)]
    return arguments


@pytest.mark.parametrize("spec", request_fields().values(), ids=lambda spec: spec.name)
def test_every_field_of_a_request_is_an_option_and_reaches_its_maker(
    spec: FieldSpec, tmp_path: Path
) -> None:
    """Guards a field that is added to the platforms and forgotten on the command line, and one
    that `call` and `generate --server` lose on the way."""
    expected = dict(spec.example)
    if "input_audio" in expected:
        expected["input_audio"] = tmp_path / "clip.wav"
        expected["input_audio"].touch()
    name, arguments = spec.name, _arguments(expected)
    parser = cli.build_parser()
    called = parser.parse_args(["call", "--target", "hf", *arguments])
    request = parse_request(called)
    assert request == GenerationRequest.from_mapping(expected)
    if name != "model_version":  # here it is the model that is loaded
        assert parse_request(parser.parse_args(["generate", *arguments])) == request
    sent = build_fields(request, input_audio="an address")
    received = json.loads(json.dumps(sent))
    if "input_audio" in received:
        assert received.pop("input_audio") == "an address"
        received["input_audio"] = request.input_audio
    assert GenerationRequest.from_mapping(received) == request


def test_help_shows_the_limits(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["generate", "--help"])
    _, _, shown = capsys.readouterr().out.partition("\noptions:")
    for spec in request_fields().values():
        option = spec.option
        numbers = [n for n in (spec.low, spec.high, *spec.choices) if n is not None]
        if not option:
            continue
        text = re.split(r"\n  -", shown.partition(f"  {option} ")[2])[0]
        for number in numbers:
            assert re.search(rf"(?<![\d.]){re.escape(str(number).removesuffix('.0'))}\b", text), (
                option
            )


def test_variations_are_numbered(tmp_path: Path) -> None:
    out = tmp_path / "clip.mp3"
    assert (
        cli.main(["generate", "piano", "--duration", "0.2", "--variations", "2", "-o", str(out)])
        == 0
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip-1.mp3", "clip-2.mp3"]


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (["", "--duration", "1"], "prompt"),
        (["piano", "--duration", "0"], "--duration"),
        (["piano", "--format", "aac"], "--format"),
        (["piano", "-o", "clip.aiff"], "-o"),
        (["piano", "-o", "-"], "-o"),
        (["piano", "-o", "file/clip.wav"], "-o"),
        (["piano", "-o", "a" * 300], "-o cannot be written: File name too long"),
        (["piano", "--plot", "clip.wav"], "--plot"),
        (["piano", "--model", "huge"], "--model"),
        (["piano", "--device", "gpu"], "--device"),
        (["piano", "--device", "cuda:31"], "--device"),
        (["piano", "--normalization", "loud"], "--normalization"),
        (["piano", "--target-loudness", "-9", "--normalization", "rms"], "--target-loudness"),
        (["piano", "--top-k", "5000"], "--top-k"),
        (["piano", "--loop"], "--loop needs --bpm."),
    ],
)
def test_bad_input_is_told_in_a_line_and_leaves_no_file(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    field: str,
) -> None:
    """Guards a message about a field or a setting that the user has not typed."""
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    assert cli.main(["generate", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"musicgen: {field}") and error.count("\n") == 1
    assert not any(name in error for name in ("output_format", "normalization_", "MUSICGEN_DEV"))
    assert [path.name for path in tmp_path.rglob("*")] == ["file"]


def test_the_format_may_not_contradict_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "clip.wav")
    assert cli.main(["generate", "piano", "--format", "mp3", "-o", out]) == 2
    assert ".wav" in capsys.readouterr().err


def test_models_shows_every_licence(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["models"]) == 0
    table = capsys.readouterr().out
    assert table.count("CC-BY-NC-4.0") == 13
    assert "stereo-melody-large" in table and "13.1 GB" in table
    assert cli.main(["models", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 13


def test_verify_says_identical(
    checkpoints: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(checkpoints("musicgen-stereo-small"))
    assert cli.main(["verify", "--model", folder, "--duration", "0.3"]) == 0
    assert capsys.readouterr().out.startswith("identical")


def test_verify_names_the_first_difference(
    checkpoints: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Guards the guard: an engine that is wrong in one place must be caught there."""
    honest = verify.greedy_codes

    def wrong_once(engine: object, *arguments: object) -> np.ndarray:
        codes = honest(engine, *arguments)
        if isinstance(engine, MusicGenEngine):
            codes[0, 2, 9] ^= 1
            codes[0, 1, 11] ^= 1
        return codes

    monkeypatch.setattr(verify, "greedy_codes", wrong_once)
    folder = str(checkpoints("musicgen-small"))
    assert cli.main(["verify", "--model", folder, "--duration", "0.3"]) == 1
    assert "first at frame 9, codebook 2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("part", "field", "value"),
    [
        ("audio_encoder", "normalize", True),
        ("audio_encoder", "chunk_length_s", 1.0),
        ("audio_encoder", "norm_type", "time_group_norm"),
        ("decoder", "activation_function", "quick_gelu"),
    ],
)
def test_verify_says_when_it_compared_nothing(
    checkpoints: Callable[[str], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    part: str,
    field: str,
    value: object,
) -> None:
    """Guards "identical" where both sides would be transformers."""
    folder = tmp_path / "odd"
    shutil.copytree(checkpoints("musicgen-small"), folder)
    config = json.loads((folder / "config.json").read_text())
    config[part][field] = value
    (folder / "config.json").write_text(json.dumps(config))
    assert cli.main(["verify", "--model", str(folder), "--duration", "0.3"]) == 3
    said = capsys.readouterr().out
    assert said.startswith("not compared: ") and str(value) in said


@pytest.mark.parametrize("form", ["plain-float32", "native-int8"])
def test_an_activation_that_only_transformers_has_cannot_be_packed(
    form: str,
    checkpoints: Callable[[str], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Guards a traceback, and advice to choose a form that does not work either."""
    folder = tmp_path / "odd"
    shutil.copytree(checkpoints("musicgen-small"), folder)
    config = json.loads((folder / "config.json").read_text())
    config["decoder"]["activation_function"] = "quick_gelu"
    (folder / "config.json").write_text(json.dumps(config))
    packed = str(tmp_path / "packed")
    assert cli.main(["pack", str(folder), "-o", packed, "--form", form]) == 1
    assert "The activation must be one of gelu" in capsys.readouterr().err


def test_help_imports_no_torch_and_shows_the_licence() -> None:
    done = _musicgen("--help")
    assert done.returncode == 0 and "CC-BY-NC-4.0" in done.stdout
