"""The command line as a user types it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from handlers.cli import generate
from handlers.cli import main as cli
from handlers.cli.options import request_from
from musicgen.engine.engine import MusicGenEngine
from musicgen.evaluation import verify
from musicgen.remote.fields import fields_of
from musicgen.request import GenerationRequest
from musicgen.request import postprocessing as finish
from musicgen.request import request as limits
from musicgen.request.sections import Section
from tests.support import ROOT


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
    assert "steps" in done.stderr and "left" in done.stderr


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
    (tmp_path / "file").touch()
    out, plot = str(tmp_path / "c.wav"), str(tmp_path / "file" / "clip.png")
    arguments = ["generate", "piano", "--duration", "0.2", "-o", out, "--plot", plot]
    assert cli.main(arguments) == 1
    assert "cannot write the plot" in capsys.readouterr().err
    Path(out).unlink()
    monkeypatch.setattr(generate, "find_spec", lambda _: None)
    assert cli.main(arguments) == 1
    assert "musicgen-serverless[plot]" in capsys.readouterr().err
    assert not Path(out).exists()


GIVEN: dict[str, tuple[list[str], object]] = {
    "prompt": (["piano"], "piano"),
    "prompts": (["a", "b"], ("a", "b")),
    "sections": (
        ["--sections", '[{"prompt": "a", "duration": 2}]'],
        (Section("a", 2.0),),
    ),
    "negative_prompt": (["x", "--negative-prompt", "drums"], "drums"),
    "model_version": (["x", "--model", "small"], "small"),
    "duration": (["x", "--duration", "5.5"], 5.5),
    "seed": (["x", "--seed", "0"], 0),
    "variations": (["x", "--variations", "3"], 3),
    "top_k": (["x", "--top-k", "7"], 7),
    "top_p": (["x", "--top-p", "0.5"], 0.5),
    "temperature": (["x", "--temperature", "0.5"], 0.5),
    "classifier_free_guidance": (["x", "--guidance", "2.5"], 2.5),
    "extend_stride": (["x", "--extend-stride", "10"], 10.0),
    "input_audio": (["x", "--input-audio", "a.wav"], Path("a.wav")),
    "continuation": (["x", "--input-audio", "a.wav", "--continuation"], True),
    "continuation_start": (
        ["x", "--input-audio", "a.wav", "--continuation", "--continuation-start", "1"],
        1.0,
    ),
    "continuation_end": (
        ["x", "--input-audio", "a.wav", "--continuation", "--continuation-end", "2"],
        2.0,
    ),
    "loop": (["x", "--loop", "--bpm", "90"], True),
    "bpm": (["x", "--bpm", "90"], 90.0),
    "beats_per_bar": (["x", "--beats-per-bar", "3"], 3),
    "trim_silence": (["x", "--trim-silence"], True),
    "fade_in": (["x", "--fade-in", "0.5"], 0.5),
    "fade_out": (["x", "--fade-out", "0.5"], 0.5),
    "steady_level": (["x", "--no-steady-level"], False),
    "normalization_strategy": (["x", "--normalization", "peak"], "peak"),
    "target_loudness": (["x", "--target-loudness", "-20"], -20.0),
    "sample_rate": (["x", "--sample-rate", "48000"], 48_000),
    "output_format": (["x", "--format", "mp3"], "mp3"),
    "bit_depth": (["x", "--bit-depth", "24"], "24"),
    "bitrate": (["x", "--format", "mp3", "--bitrate", "128"], 128),
    "save_tokens": (["x", "--save-tokens"], True),
}


@pytest.mark.parametrize("name", [each.name for each in fields(GenerationRequest)])
def test_every_field_of_a_request_is_an_option_and_goes_to_whoever_makes_it(name: str) -> None:
    """Guards a field that is added to the platforms and forgotten on the command line, and one
    that `call` and `generate --server` lose on the way."""
    arguments, value = GIVEN[name]
    parser = cli._parser()
    called = parser.parse_args(["call", "--target", "hf", *arguments])
    request = request_from(called)
    assert getattr(request, name) == value != getattr(GenerationRequest(prompt="y"), name)
    if name != "model_version":  # here it is the model that is loaded
        assert request_from(parser.parse_args(["generate", *arguments])) == request
    sent = fields_of(request, input_audio="an address")
    received = json.loads(json.dumps(sent))
    if "input_audio" in received:
        assert received.pop("input_audio") == "an address"
        received["input_audio"] = request.input_audio
    assert GenerationRequest.from_mapping(received) == request


LIMITS: dict[str, tuple[float, ...]] = {
    "--duration": (limits.DURATION_MIN_SECONDS, limits.DURATION_MAX_SECONDS),
    "--extend-stride": (limits.STRIDE_MIN_SECONDS, limits.STRIDE_MAX_SECONDS),
    "--seed": (0, limits.SEED_MAX),
    "--variations": (1, limits.VARIATIONS_MAX),
    "--top-k": (0, limits.TOP_K_MAX),
    "--top-p": (0, 1),
    "--bpm": (finish.BPM_MIN, finish.BPM_MAX),
    "--beats-per-bar": (finish.BEATS_MIN, finish.BEATS_MAX),
    "--fade-in": (0, finish.FADE_MAX_SECONDS),
    "--fade-out": (0, finish.FADE_MAX_SECONDS),
    "--target-loudness": (finish.LOUDNESS_MIN_LUFS, finish.LOUDNESS_MAX_LUFS),
    "--sample-rate": finish.SAMPLE_RATES,
    "--bitrate": (finish.BITRATES[0], finish.BITRATES[-1]),
}


def test_help_shows_the_limits(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["generate", "--help"])
    _, _, shown = capsys.readouterr().out.partition("\noptions:")
    for option, numbers in LIMITS.items():
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
        (["piano", "--duration", "0"], "duration"),
        (["piano", "--format", "aac"], "output_format"),
        (["piano", "-o", "clip.aiff"], "output_format"),
        (["piano", "--model", "huge"], "model"),
        (["piano", "--normalization", "loud"], "normalization_strategy"),
        (["piano", "--top-k", "0"], "top_k"),
    ],
)
def test_bad_input_is_told_in_a_line_and_leaves_no_file(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    field: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["generate", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"musicgen: {field}=") and error.count("\n") == 1
    assert not list(tmp_path.rglob("*"))


def test_the_format_may_not_contradict_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "clip.wav")
    assert cli.main(["generate", "piano", "--format", "mp3", "-o", out]) == 2
    assert ".wav" in capsys.readouterr().err


def test_models_shows_every_licence(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["models"]) == 0
    table = capsys.readouterr().out
    assert table.count("CC-BY-NC-4.0") == 11
    assert "stereo-melody-large" in table and "13.1 GB" in table
    assert cli.main(["models", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 11


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


def test_help_imports_no_torch_and_shows_the_licence() -> None:
    done = _musicgen("--help")
    assert done.returncode == 0 and "CC-BY-NC-4.0" in done.stdout
