"""Ends of the command line in odd surroundings: one clear line, and the right exit status."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from handlers.cli import main as cli
from tests.support import ROOT
from tests.support.commands import run_command

COMMAND = f'"{sys.executable}" -m handlers.cli'
"""In the standard library's own mode: an unbuffered stream fails at another place."""
ENV = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
FULL = "musicgen: cannot write to standard output: No space left on device\n"


def _heed_interrupts() -> None:
    """Undo that the tests themselves may run in the background, where interrupts are ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _run_shell(line: str, **more: str) -> subprocess.CompletedProcess[str]:
    command = ["bash", "-c", line]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env={**ENV, **more}, check=False
    )


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", ["models", "--help", "--version", "generate --help"])
def test_a_full_disk_behind_the_output_is_told_in_a_line(arguments: str, unbuffered: str) -> None:
    """Guards a traceback, and a status of 0 where a part of the text was lost."""
    done = _run_shell(f"{COMMAND} {arguments} > /dev/full", PYTHONUNBUFFERED=unbuffered)
    if not (unbuffered and "help" in arguments):  # argparse itself drops an error of its help
        assert (done.returncode, done.stderr) == (1, FULL)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", ["models", "--help", "plan --jobs-per-hour 10"])
def test_a_reader_that_has_enough_ends_the_command_quietly(arguments: str) -> None:
    done = _run_shell(f"{COMMAND} {arguments} | true; exit ${{PIPESTATUS[0]}}")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("streams", [">&-", "2>&-", "<&- >&- 2>&-", "2>/dev/full", "2> >(true)"])
def test_a_lost_stream_never_loses_the_clip(streams: str, tmp_path: Path) -> None:
    """Guards the progress on standard error: its closed reader ended the work with status 0."""
    out = tmp_path / "clip.wav"
    done = _run_shell(f"{COMMAND} generate piano --duration 0.5 -o {out} {streams}")
    assert done.returncode == 0 and out.read_bytes().startswith(b"RIFF")


@pytest.mark.parametrize("streams", ["2>&-", "2>/dev/full"])
def test_a_lost_message_keeps_its_status(streams: str) -> None:
    assert _run_shell(f"{COMMAND} generate piano --duration 0 {streams}").returncode == 2


def test_a_name_beyond_the_terminals_characters_is_escaped(tmp_path: Path) -> None:
    out = tmp_path / "f\u00fcr.wav"
    line = f"{COMMAND} generate 'f\u00fcr J\u00f6rg' --duration 0.2 -o '{out}'"
    done = _run_shell(line, PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert out.is_file() and "f\\xfcr.wav" in done.stdout


@pytest.mark.parametrize("place", ["handlers.cli.main", "musicgen.settings", "musicgen.catalog"])
def test_an_interrupt_during_the_imports_ends_in_a_line(place: str) -> None:
    """Guards the traceback of an import that Ctrl-C meets, here one that takes its time."""
    program = (
        "import sys, time\n"
        "class Slow:\n"
        "    def find_spec(self, name, *_):\n"
        f"        if name == {place!r}:\n"
        "            print('here', flush=True); time.sleep(60)\n"
        "sys.meta_path.insert(0, Slow())\n"
        "from handlers.cli.entry import main\n"
        "sys.argv = ['musicgen', 'models']\n"
        "sys.exit(main())\n"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=ENV,
        preexec_fn=_heed_interrupts,
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == "here\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert process.stderr.read() == "musicgen: Interrupted.\n"


def test_an_interrupted_clip_leaves_no_file(tmp_path: Path) -> None:
    out = tmp_path / "clip.wav"
    command = [sys.executable, "-m", "handlers.cli", "generate", "piano", "--duration", "60"]
    with subprocess.Popen(
        [*command, "-o", str(out)],
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=ENV,
        preexec_fn=_heed_interrupts,
    ) as process:
        assert process.stderr is not None
        while not process.stderr.readline().startswith("decoding"):
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert process.stderr.read().endswith("musicgen: Interrupted; nothing was written.\n")
    assert not list(tmp_path.iterdir())


def test_a_command_told_to_ignore_interrupts_does() -> None:
    """Guards a job in the background of a script, which Ctrl-C at the script must not end."""
    line = f"trap '' INT; {COMMAND} models & pid=$!; sleep 0.3; kill -INT $pid; wait $pid"
    done = _run_shell(line)
    assert done.returncode == 0 and "stereo-large" in done.stdout


NUMBERS = [
    *(["plan", "--jobs-per-hour", text] for text in ("0", "inf", "nan", "1e9", "x")),
    *(["plan", "--jobs-per-hour", "9", option, "-1"] for option in ("--slots", "--cold-start")),
    ["plan", "--jobs-per-hour", "9", "--slots", "100000000"],
    *(["evaluate", "--duration", text] for text in ("nan", "0", "inf")),
    *(["verify", "--duration", text] for text in ("0.02", "0", "-1", "nan", "inf", "301")),
    *(["evaluate", "--guidance", text] for text in ("nan", "-1")),
    ["evaluate", "--top-k", "99999"],
    *(["call", "piano", "--target", "hf", "--timeout", text] for text in ("nan", "-1", "inf")),
    *(["serve", "all", "--workers", text] for text in ("-1", "1.5", "100000")),
    ["credentials", "new", "folder", "--days", "0"],
    ["keys", "create", "me", "--days", "inf"],
]


@pytest.mark.parametrize("arguments", NUMBERS, ids=" ".join)
def test_a_number_outside_its_limits_is_refused_with_them(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Guards a traceback, a simulation without end, and a value that was silently accepted."""
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    error = capsys.readouterr().err.splitlines()[-1]
    assert ended.value.code == 2
    assert "number" in error and f"(was {arguments[-1]!r})" in error


@pytest.mark.parametrize("url", ["foo", "ftp://host", "http://", "http://a:b", "http://\udcff"])
def test_a_server_that_is_no_url_is_refused(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["generate", "piano"], ["mcp"]):
        with pytest.raises(SystemExit) as ended:
            cli.main([*arguments, "--server", url])
        assert ended.value.code == 2
        assert "--server: must be a URL such as" in capsys.readouterr().err


FILES = [
    (["generate", "piano", "-o", "."], "-o must be a file"),
    (["generate", "piano", "-o", "pipe.wav"], "-o must be a file"),
    (
        ["convert", "nothing", "-o", "out"],
        "FOLDER must be an existing folder, or one of audiogen-medium",
    ),
    (["convert", ".", "-o", "out"], "--base must name the base model"),
    (["mcp", "--folder", "file"], "--folder must be a folder"),
    (["stems", "file", "-o", "file/new"], "-o must be a folder"),
    (["pack", "demo", "-o", "file"], "-o must be a folder"),
    (["pack", "demo", "-o", "file/a.packed"], "-o must be in a folder"),
    (["convert", "audiogen-medium", "-o", "file"], "-o must be a folder"),
    (["credentials", "new", "file"], "FOLDER must be a folder"),
    (["verify", "--prompt", "\udcff"], "prompt must not contain unpaired surrogates"),
    (["plan", "--jobs-per-hour", "9", "--contestant", "x"], "--contestant needs --throughput"),
    (
        ["plan", "--jobs-per-hour", "9", "--gpu", "L4", "--throughput", "file"],
        "--throughput must be a file of bench/serve.py --save",
    ),
    (["inspect", "file"], "FILE is not a wav, flac, mp3, ogg or opus"),
]


@pytest.mark.parametrize(("arguments", "says"), FILES, ids=lambda value: str(value)[:40])
def test_a_wrong_file_is_told_in_a_line(
    arguments: list[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe.wav")
    Path("file").write_text('{"medians": {"a": 5}}')
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"musicgen: {says}") and error.count("\n") == 1


def test_an_unforeseen_fault_of_a_file_is_told_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deep = str(tmp_path / ("a" * 300))
    assert cli.main(["inspect", deep]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_remote_address_without_a_host_is_told_in_a_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["call", "--target", "http://\udcff", "piano"]) == 1
    assert "is not a URL" in capsys.readouterr().err


def test_a_plan_beyond_all_workers_ends() -> None:
    """Guards a simulation with a worker for every job, which ran for hours."""
    line = f"{COMMAND} plan --jobs-per-hour 1000000 --seconds 300 --gpu T4 --slots 1"
    done = _run_shell(f"{line}; exit $?")
    assert done.returncode == 1 and "No number of workers" in done.stdout


def test_a_file_closed_to_the_user_is_told_in_a_line(tmp_path: Path) -> None:
    """Guards `[Errno 13]`, and advice about the room on a disk."""
    closed, sound = tmp_path / "closed", tmp_path / "a.wav"
    closed.mkdir(mode=0o000)
    sound.write_bytes(b"RIFF")
    sound.chmod(0o000)
    for command, status, says in (
        (f"generate x --continuation --input-audio {sound}", 2, "--input-audio cannot be read: "),
        (f"generate x -o {closed}/a.wav", 2, "-o cannot be written: Permission denied"),
        (f"generate x --model {closed}", 1, f"{closed}/adapter_config.json: Permission denied."),
        (f"pack demo -o {closed}", 2, "-o must be a folder that you may write to"),
        (f"midi {sound}", 2, "FILE cannot be read: Permission denied"),
        (f"inspect {sound}", 2, "FILE cannot be read: Permission denied"),
        (f"evaluate --music {closed}", 2, "--music must be an existing folder that you may read"),
    ):
        ended = run_command(command.split(), dict(os.environ), bound=True)
        assert ended.status == status, ended.text
        assert len(ended.lines) == 1 and ended.text.startswith(f"musicgen: {says}"), ended.text
