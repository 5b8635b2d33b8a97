"""Reading a hostile file takes little memory and time, whatever it holds."""

from __future__ import annotations

import json
import os
import resource
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from musicgen.audio.decode import measure_audio, read_audio
from musicgen.audio.embedded_tokens import SavedTokens, read_tokens
from musicgen.audio.tags import TEXT_MAX_CHARACTERS, AudioTags, read_tags
from musicgen.errors import InvalidInputAudio
from musicgen.errors.sound_reasons import SoundReason
from tests.support import ROOT
from tests.support.audio_files import KINDS, encode_file, make_sines


def write_silence(path: Path, seconds: int, comment: str = "") -> None:
    """A stereo FLAC: an hour has 600 kB."""
    block = np.zeros((48_000 * 10, 2), np.int16)
    with sf.SoundFile(path, "w", 48_000, 2, "PCM_16", format="FLAC") as file:
        if comment:
            file.comment = comment
        for _ in range(seconds // 10):
            file.write(block)


PROBE = """
import atexit, pathlib, runpy, sys
atexit.register(lambda: sys.stderr.write(pathlib.Path("/proc/self/status").read_text()))
runpy.run_module("musicgen.audio.probe", run_name="__main__")
"""


def probe(path: Path) -> tuple[dict[str, object], int]:
    """The answer of the probe, and its most memory in kB."""
    command = [sys.executable, "-c", PROBE, str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    peak = next(line for line in done.stderr.splitlines() if line.startswith("VmHWM"))
    return json.loads(done.stdout), int(peak.split()[1])


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_is_as_long_as_its_samples(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "sound"
    path.write_bytes(encode_file(kind, make_sines(72_000, 2, 48_000), 48_000))
    pcm, rate = read_audio(path)
    assert measure_audio(path) == len(pcm) / rate
    assert probe(path)[0] == {"seconds": len(pcm) / rate}


def test_a_long_silence_is_measured_in_little_memory(tmp_path: Path) -> None:
    """A file of 200 kB took 460 MB in the API's process."""
    path = tmp_path / "silence"
    write_silence(path, 1200)
    assert path.stat().st_size < 300_000
    answer, peak = probe(path)
    assert answer == {"seconds": 1200.0}
    assert peak < 100_000


AT_END = """
import atexit, pathlib, resource, runpy, sys

def look():
    try:
        bytearray(2**30)
    except MemoryError:
        print("no memory", file=sys.stderr)
    print(resource.getrlimit(resource.RLIMIT_CPU)[0], "seconds", file=sys.stderr)
    print(pathlib.Path("/proc/self/oom_score_adj").read_text().strip(), file=sys.stderr)
    print(len(list(pathlib.Path("/proc/self/task").iterdir())), "thread", file=sys.stderr)

atexit.register(look)
runpy.run_module(sys.argv.pop(), run_name="__main__")
"""


@pytest.mark.parametrize("name", ["probe", "decoder_main"])
def test_a_decoding_process_ends_at_its_limits(tmp_path: Path, name: str) -> None:
    """A decoder that takes all memory, or never ends, must not take the API with it."""
    path = tmp_path / "sound"
    path.write_bytes(encode_file("wav", make_sines(72_000, 2, 48_000), 48_000))
    command = [sys.executable, "-c", AT_END, str(path), f"musicgen.audio.{name}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True)
    assert done.returncode == 0 and done.stdout
    told = done.stderr.decode().splitlines()
    # A thread of OpenBLAS for each processor would take the memory of the limit.
    assert told[-4:] == ["no memory", "30 seconds", "1000", "1 thread"], told


def test_a_refusal_of_the_probe_has_the_parts_of_the_error(tmp_path: Path) -> None:
    path = tmp_path / "prose"
    path.write_text("no sound")
    with pytest.raises(InvalidInputAudio) as caught:
        measure_audio(path)
    told = probe(path)[0]
    assert SoundReason.from_mapping(told) == caught.value.problem
    assert told["advice"] == caught.value.advice


def test_tokens_of_a_long_file_are_checked_in_little_memory(tmp_path: Path) -> None:
    """The samples were read at once to compare their checksum."""
    saved = SavedTokens(np.zeros((4, 10), np.int64), "mark", 0)
    tags = AudioTags("x", 1, "demo", "x", "x", tokens=saved.to_text())
    path = tmp_path / "long"
    write_silence(path, 1200, tags.to_json())
    assert read_tags(path) == tags
    if (pid := os.fork()) == 0:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        found = read_tokens(path)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        os._exit(0 if found is None and grown < 100_000 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


def test_many_chunks_and_long_texts_cost_no_time(tmp_path: Path) -> None:
    """Each of a million lists copied the rest of the file."""
    lists = _chunk(b"LIST", b"INFO") * 1_000_000
    text = _chunk(b"LIST", b"INFO" + _chunk(b"ICMT", b"[" * (TEXT_MAX_CHARACTERS + 2)))
    for chunks in (lists, text):
        path = tmp_path / "hostile"
        path.write_bytes(b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WAVE" + chunks)
        began = time.process_time()
        assert read_tags(path) is None
        assert time.process_time() - began < 1
