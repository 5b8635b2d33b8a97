"""Checks that several targets make: the bucket, the GPU, the model's licence."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping

from infra.deploy.shell import ask
from infra.deploy.target import Check, DeployError
from musicgen import catalog
from musicgen.errors import MusicGenError
from musicgen.settings import BucketSettings, Settings

DRIVER = 580
"""Of NVIDIA, the oldest for CUDA 13, which the torch of the images is built for."""


def bucket(env: Mapping[str, str]) -> Iterator[Check]:
    """For a deployment with the settings `env`: an object is put there and taken away again."""
    if not env.get("MUSICGEN_BUCKET"):
        return
    try:
        settings = Settings.from_env(env).bucket
        yield writable(settings)
    except MusicGenError as error:
        yield Check("bucket", False, str(error))


def writable(settings: BucketSettings) -> Check:
    """Needs the right to delete too: without it the probe stays, and the check says so."""
    from musicgen.storage.s3_client import explained_failure, open_client
    from musicgen.storage.spool import Upload

    prefix = settings.prefix.strip("/")
    key = f"{prefix}/probe-{uuid.uuid4()}" if prefix else f"probe-{uuid.uuid4()}"
    name = f"bucket {settings.name}"
    upload = Upload(str(settings.name), key, "text/plain", "", {}, settings.endpoint_url)
    try:
        client = open_client(settings)
        client.put_object(Bucket=settings.name, Key=key, Body=b"a probe, to be deleted")
    except MusicGenError as error:
        return Check(name, False, str(error))
    except Exception as error:
        return Check(name, False, str(explained_failure(error, upload)))
    try:
        client.delete_object(Bucket=settings.name, Key=key)
    except Exception as error:
        left = f"writable, but {key} could not be deleted again ({type(error).__name__})"
        return Check(name, True, f"{left}: jobs that are cancelled will leave clips there")
    return Check(name, True, "writable")


def licence(model: str) -> Check:
    """Always met: it is there to be read."""
    entry = catalog.find(model)
    told = entry.licence if entry else catalog.UNKNOWN_LICENCE
    limit = ": no commercial use" if told == catalog.MUSICGEN_LICENCE else ""
    return Check(f"licence of {model}", True, f"{told}{limit}")


def gpu_here(model: str | None) -> Check:
    """This machine's driver, and memory enough for `model` where it is one of the catalog's."""
    columns = ("--query-gpu=driver_version,memory.total", "--format=csv,noheader,nounits")
    try:
        status, said = ask("nvidia-smi", *columns)
    except DeployError as error:
        return Check("GPU", False, f"{error}: install NVIDIA's driver, {DRIVER} or newer")
    if status or not said:
        return Check("GPU", False, f"nvidia-smi: {said}")
    driver, memory = (part.strip() for part in said.splitlines()[0].split(","))
    return gpu(driver, int(memory) * 2**20, model)


def gpu(driver: str, memory: int, model: str | None) -> Check:
    """`driver`: its version; `memory`: bytes."""
    if int(driver.split(".")[0]) < DRIVER:
        return Check("GPU", False, f"driver {driver} is too old: {DRIVER} or newer is needed")
    entry = catalog.find(model) if model else None
    needed = entry.memory.get("bfloat16", 0) if entry else 0
    has = f"driver {driver}, {memory / 1e9:.1f} GB"
    if needed > memory:
        return Check("GPU", False, f"{has}: {model} needs {needed / 1e9:.1f} GB")
    return Check("GPU", True, has)
