"""Each image alone: its size, its user, the installed package with the native step, the model."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from infra.images.build import Image
from musicgen.model.native.step_file import LEVEL_NAMES
from tests.images.caller import find_native_step, say

PROCESSOR = "musicgen-processor"
DECODING = ("musicgen-worker", PROCESSOR, "musicgen-runpod")
OURS = ("musicgen-api", *DECODING)
MOST_MB = {"musicgen-api": 430, "musicgen-worker": 1150, PROCESSOR: 300, "musicgen-runpod": 1150}
"""With the base. torch without CUDA is most of the images of the worker and of RunPod."""
SITE = "lib/python3.*/site-packages"
DESCRIBE = """
import json, importlib.metadata, musicgen
from musicgen.model.native.step_file import describe_step
print(json.dumps({
    "step": describe_step(),
    "file": musicgen.__file__,
    "version": importlib.metadata.version("musicgen-serverless") == musicgen.__version__,
}))
"""

READ_M4A = """
import av, numpy
from pathlib import Path
from musicgen.audio.decode import read_audio
with av.open("/tmp/sound", "w", format="ipod") as file:
    stream = file.add_stream("aac", rate=48_000, layout="mono")
    for start in range(0, 48_000, 1_000):
        frame = av.AudioFrame.from_ndarray(numpy.zeros((1, 1_000), "f4"), "fltp", "mono")
        frame.sample_rate, frame.pts = 48_000, start
        file.mux(stream.encode(frame))
    file.mux(stream.encode(None))
print(len(read_audio(Path("/tmp/sound"), is_foreign=True)[0]))
"""


def test_the_images_are_as_small_as_they_are_said_to_be(images: Mapping[str, Image]) -> None:
    sizes = {name: images[name].size / 1e6 for name in OURS}
    say("megabytes: " + ", ".join(f"{name} {size:.0f}" for name, size in sizes.items()))
    assert {name for name, size in sizes.items() if size > MOST_MB[name]} == set()


@pytest.mark.parametrize("name", OURS)
def test_an_image_has_no_compiler_and_no_installer(images: Mapping[str, Image], name: str) -> None:
    """What builds the package stays in the build stage."""
    root = images[name].root
    for program in ("usr/bin/g++", "usr/bin/gcc", "usr/bin/ld"):
        assert not (root / program).exists()
    venv = root / "opt/venv"
    assert not list(venv.glob(f"{SITE}/pip"))
    assert not list(venv.glob(f"{SITE}/torch/include"))
    assert list(venv.glob(f"{SITE}/musicgen/__init__.py")), "the package is installed"
    assert not list(root.glob("src/*"))


@pytest.mark.parametrize("name", OURS)
def test_an_image_runs_as_a_user_and_has_bytecode(images: Mapping[str, Image], name: str) -> None:
    image = images[name]
    assert image.config["User"].split(":")[0] not in ("", "0", "root")
    for module in ("musicgen/__init__.py", "handlers/cli/main.py", "boto3/__init__.py"):
        [source] = (image.root / "opt/venv").glob(f"{SITE}/{module}")
        assert list(source.parent.glob(f"__pycache__/{source.stem}.cpython-*.pyc"))


def test_the_image_for_processors_has_no_torch(images: Mapping[str, Image]) -> None:
    venv = images[PROCESSOR].root / "opt/venv"
    assert not list(venv.glob(f"{SITE}/torch*"))
    assert not list(venv.glob(f"{SITE}/av"))


@pytest.mark.parametrize("name", ["musicgen-api", "musicgen-worker", PROCESSOR])
def test_an_image_keeps_its_health_check(images: Mapping[str, Image], name: str) -> None:
    assert images[name].config["Healthcheck"]["Test"][0] == "CMD"


@pytest.mark.parametrize("name", [name for name in OURS if name != PROCESSOR])
def test_an_image_reads_the_sound_of_a_phone(program: Callable[..., Any], name: str) -> None:
    done = program(name, "python", "-c", READ_M4A)
    assert done.returncode == 0, done.stdout
    assert 47_000 < int(done.stdout.splitlines()[-1]) < 50_000


@pytest.mark.parametrize("name", DECODING)
def test_an_image_that_decodes_has_the_native_step(program: Callable[..., Any], name: str) -> None:
    """Guards against a slim base without a compiler, where the worker was 2 to 4 times slower."""
    done = program(name, "python", "-c", DESCRIBE)
    assert done.returncode == 0, done.stdout
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["step"] in LEVEL_NAMES.values()
    assert "site-packages" in found["file"] and found["version"]


@pytest.mark.parametrize("name", ["musicgen-worker", PROCESSOR])
def test_the_form_of_processors_runs_in_the_image_that_packs_it(
    program: Callable[..., Any], name: str
) -> None:
    """`--build-arg FORM=native-int8` made an image that refused its own file."""
    command = ("generate", "bells", "--duration", "1", "-o", "/tmp/clip.wav")
    done = program(name, "musicgen", *command, MUSICGEN_LOG_LEVEL="INFO")
    assert done.returncode == 0, done.stdout
    assert "weights of the form native-int8" in done.stdout
    assert find_native_step(done.stdout) in LEVEL_NAMES.values()


def test_the_image_of_runpod_makes_the_local_job(program: Callable[..., Any]) -> None:
    done = program("musicgen-runpod")
    assert done.returncode == 0, done.stdout[-3000:]
    assert find_native_step(done.stdout) in LEVEL_NAMES.values()


def test_the_image_of_the_api_knows_its_commands(program: Callable[..., Any]) -> None:
    done = program("musicgen-api", "musicgen", "--help")
    assert done.returncode == 0 and "serve" in done.stdout
