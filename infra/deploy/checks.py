"""Checks shared by several targets: the bucket, the GPU, the model's licence."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

from infra.deploy.shell import run_command
from infra.deploy.target import Check, DeployError
from musicgen import catalog
from musicgen.checkpoints.local import find_licence
from musicgen.errors import MusicGenError
from musicgen.settings import BucketSettings, Settings

DRIVER = 580
"""Oldest NVIDIA driver for CUDA 13; the torch of the images is built for CUDA 13."""
IMAGE = re.compile(r"[a-z0-9.-]+(:\d+)?(/[a-z0-9._-]+)+(:[\w.-]+)?@sha256:[0-9a-f]{64}")
"""Reference of an image by its digest."""


def check_bucket(env: Mapping[str, str]) -> Iterator[Check]:
    """Write and delete a probe object in the bucket of the settings `env`."""
    if not env.get("MUSICGEN_BUCKET"):
        return
    try:
        settings = Settings.from_env(env).bucket
        yield check_writable(settings)
    except MusicGenError as error:
        yield Check("bucket", False, str(error))


def check_writable(settings: BucketSettings) -> Check:
    """Check the right to write and delete. Without the right to delete, the probe object stays."""
    from musicgen.storage.s3_client import open_client, translate_client_error
    from musicgen.storage.spool import UploadTarget

    prefix = settings.prefix.strip("/")
    key = f"{prefix}/probe-{uuid.uuid4()}" if prefix else f"probe-{uuid.uuid4()}"
    name = f"bucket {settings.name}"
    target = UploadTarget(str(settings.name), key, "text/plain", "", {}, settings.endpoint_url)
    try:
        client = open_client(settings)
        client.put_object(Bucket=settings.name, Key=key, Body=b"a probe, to be deleted")
    except MusicGenError as error:
        return Check(name, False, str(error))
    except Exception as error:
        return Check(name, False, str(translate_client_error(error, target)))
    try:
        client.delete_object(Bucket=settings.name, Key=key)
    except Exception as error:
        probe = f"writable, but {key} could not be deleted ({type(error).__name__})"
        return Check(name, True, f"{probe}: clips of cancelled jobs will stay there")
    return Check(name, True, "writable")


def check_image(image: str | None) -> Check:
    """Check an image's reference: a tag could name another image tomorrow."""
    if image is None:
        return Check("image", False, "none is given: add --image NAME@sha256:...")
    if IMAGE.fullmatch(image):
        return Check("image", True, image)
    advice = "name it by its digest, HOST/NAME@sha256: and 64 digits, as a push prints it"
    return Check("image", False, f"{image}: {advice}")


def check_limits(unit: str, least: int, most: int) -> Check:
    """Check the fewest and the most instances of a deployment."""
    is_range = 0 <= least <= most and most >= 1
    remedy = "" if is_range else ": --min must be 0 to --max, and --max at least 1"
    return Check(unit, is_range, f"{least} to {most}{remedy}")


def show_licence(model: str | None, asks_hub: bool = True) -> Check:
    """Return a check without a condition, to show the licence to the operator.

    `model`: None for the one in the image. `asks_hub`: also ask Hugging Face's hub about a model
    outside the catalog.
    """
    if model is None:
        label = "the image's label org.opencontainers.image.licenses has it"
        detail = f"{label}; Meta's weights are {catalog.MUSICGEN_LICENCE}: no commercial use"
        return Check("licence of the image's model", True, detail)
    licence = find_licence(Settings(model=model), asks_hub=asks_hub)
    return Check(f"licence of {model}", True, catalog.describe_licence(licence))


def check_local_gpu(model: str | None) -> Check:
    """Check this machine's driver, and its GPU memory for a `model` of the catalog."""
    columns = ("--query-gpu=driver_version,memory.total", "--format=csv,noheader,nounits")
    try:
        status, output = run_command("nvidia-smi", *columns)
    except DeployError as error:
        return Check("GPU", False, f"{error}: install NVIDIA's driver, {DRIVER} or newer")
    if status or not output:
        return Check("GPU", False, f"nvidia-smi: {output}")
    driver, _, memory = (part.strip() for part in output.splitlines()[0].partition(","))
    if not driver.partition(".")[0].isdigit() or not memory.isdigit():
        detail = f"nvidia-smi: {output.splitlines()[0]}: no driver version and memory in MiB"
        return Check("GPU", False, f"{detail}. A part of a GPU (MIG) does not report its memory.")
    return check_gpu(driver, int(memory) * 2**20, model)


def check_local_memory(model: str | None) -> Check:
    """Check this machine's free memory for a `model` of the catalog on the processor."""
    free = _read_available_memory()
    entry = catalog.find(model) if model else None
    required = entry.memory.get("int8", 0) if entry else 0
    if required > free:
        needs = f"{model} needs {required / 1e9:.1f} GB"
        return Check("memory", False, f"{free / 1e9:.1f} GB free: {needs}")
    return Check("memory", True, f"{free / 1e9:.1f} GB free")


def _read_available_memory(file: Path = Path("/proc/meminfo")) -> int:
    match = re.search(r"^MemAvailable:\s+(\d+) kB", file.read_text(), re.MULTILINE)
    return int(match[1]) * 1024 if match else 0


def check_gpu(driver: str, memory: int, model: str | None) -> Check:
    """Check a driver's version, and `memory` in bytes for a `model` of the catalog."""
    if int(driver.split(".")[0]) < DRIVER:
        return Check("GPU", False, f"driver {driver} is too old: {DRIVER} or newer is needed")
    entry = catalog.find(model) if model else None
    required = entry.memory.get("bfloat16", 0) if entry else 0
    gpu = f"driver {driver}, {memory / 1e9:.1f} GB"
    if required > memory:
        return Check("GPU", False, f"{gpu}: {model} needs {required / 1e9:.1f} GB")
    return Check("GPU", True, gpu)
