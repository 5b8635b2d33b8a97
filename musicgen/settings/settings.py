"""The operator's settings: the only module that reads environment variables."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from urllib.parse import urlsplit

from musicgen.errors import SettingsError
from musicgen.settings.remote import RemoteSettings

ENGINES = ("musicgen", "transformers")
PRECISIONS = ("auto", "float32", "bfloat16", "int8")
LOG_FORMATS = ("text", "json")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
ADDRESSING_STYLES = ("auto", "path", "virtual")
ENCRYPTIONS = ("none", "AES256", "aws:kms")
DEFAULT_MODEL = "demo"
URL_SECONDS_MAX = 7 * 24 * 3600
"""SigV4 signs no address for longer than this."""
_TRUE, _FALSE = frozenset({"1", "true", "yes", "on"}), frozenset({"0", "false", "no", "off"})


@dataclass(frozen=True)
class BucketSettings:
    """An S3-compatible bucket for the clips; `name` None keeps them out of any bucket.

    `endpoint_url` None is AWS. `access_key_id` and `secret_access_key` None leave the credentials
    to boto3's standard chain (environment, profile, instance role). `prefix` begins every key.
    `url_seconds`: how long a presigned GET works. `public_url` replaces it by a plain address of
    a bucket that is public or behind a CDN. `deadline`: seconds for one upload, retries included.
    """

    name: str | None = None
    endpoint_url: str | None = None
    region: str | None = None
    prefix: str = "musicgen"
    addressing: str = "auto"
    encryption: str = "none"
    kms_key: str | None = None
    storage_class: str | None = None
    tags: str | None = None
    url_seconds: int = 24 * 3600
    public_url: str | None = None
    deadline: float = 120.0
    access_key_id: str | None = field(default=None, repr=False)
    secret_access_key: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        check_choice("MUSICGEN_BUCKET_ADDRESSING", self.addressing, ADDRESSING_STYLES)
        check_choice("MUSICGEN_BUCKET_ENCRYPTION", self.encryption, ENCRYPTIONS)
        _check_range("MUSICGEN_BUCKET_URL_SECONDS", self.url_seconds, 1, URL_SECONDS_MAX)
        _check_range("MUSICGEN_BUCKET_DEADLINE", self.deadline, 1, 24 * 3600)
        if "@" in urlsplit(self.endpoint_url or "").netloc:
            raise SettingsError(
                "MUSICGEN_BUCKET_ENDPOINT_URL",
                "a URL with a password",
                "no user name and no password: they would stand in logs and errors",
            )
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise SettingsError(
                "MUSICGEN_BUCKET_ACCESS_KEY_ID",
                "given" if self.access_key_id else "missing",
                "MUSICGEN_BUCKET_SECRET_ACCESS_KEY goes with it: set both or neither",
            )


@dataclass(frozen=True)
class Delivery:
    """Where the clips of one request go: into `bucket`, or with None into the answer itself."""

    bucket: BucketSettings | None


@dataclass(frozen=True)
class Settings:
    """How a predictor is built.

    `model`: a catalog name, a local folder, a packed file or its address (https or s3), or a hub
    name, of a whole model or of a LoRA adapter. `base_model`: what an adapter is merged into, None
    for what it says itself. `revision`: the commit of the hub that it must be, None for any.
    `weights_dir`: where what was downloaded from an address is kept. `device`: auto, cpu, cuda or
    cuda:N.
    `compile`: torch.compile fuses what lies between the products, on a GPU.
    `threads`: CPU threads, None for the container's CPU quota. `slots`: requests decoded at once.
    `models_kept`: models that may be loaded at once, for requests that name one.
    `stream`: RunPod answers with audio while it is being made. `data_dir`: where clips go without
    a bucket. `spool_dir`: where clips wait that a bucket has not taken yet. `input_networks`: the
    private networks, such as 10.1.0.0/16, from which input audio may be fetched all the same.
    `separation`: the source separator for melodies, see `musicgen.predictor.separation`.
    `manifest`: write a JSON file beside the clips of each job, see `musicgen.predictor.manifest`.
    `remote`: the jobs that workers send to another deployment.
    """

    model: str = DEFAULT_MODEL
    revision: str | None = None
    base_model: str | None = None
    weights_dir: Path = Path("~/.cache/musicgen")
    device: str = "auto"
    precision: str = "auto"
    engine: str = "musicgen"
    compile: bool = False
    threads: int | None = None
    slots: int = 1
    models_kept: int = 1
    stream: bool = False
    data_dir: Path = Path("outputs")
    spool_dir: Path = Path("outputs/spool")
    input_networks: tuple[str, ...] = ()
    separation: str = "auto"
    manifest: bool = False
    log_level: str = "INFO"
    log_format: str = "text"
    bucket: BucketSettings = field(default_factory=BucketSettings)
    remote: RemoteSettings = field(default_factory=RemoteSettings)

    def __post_init__(self) -> None:
        check_choice("MUSICGEN_ENGINE", self.engine, ENGINES)
        check_choice("MUSICGEN_PRECISION", self.precision, PRECISIONS)
        check_choice("MUSICGEN_LOG_LEVEL", self.log_level, LOG_LEVELS)
        check_choice("MUSICGEN_LOG_FORMAT", self.log_format, LOG_FORMATS)
        kind, _, index = self.device.partition(":")
        if kind not in ("auto", "cpu", "cuda") or (index and not index.isdigit()):
            raise SettingsError("MUSICGEN_DEVICE", self.device, "auto, cpu, cuda or cuda:N")
        if self.threads is not None and self.threads < 1:
            raise SettingsError("MUSICGEN_THREADS", str(self.threads), "a whole number from 1")
        for name, number in (("SLOTS", self.slots), ("MODELS_KEPT", self.models_kept)):
            if number < 1:
                raise SettingsError(f"MUSICGEN_{name}", str(number), "a whole number from 1")
        for network in self.input_networks:
            check_network("MUSICGEN_INPUT_NETWORKS", network)

    @property
    def logs_json(self) -> bool:
        return self.log_format == "json"

    @classmethod
    def from_env(
        cls, env: Mapping[str, str] | None = None, *, default_model: str = DEFAULT_MODEL
    ) -> Settings:
        """Reads MUSICGEN_ and the name of each setting, MUSICGEN_BUCKET_ and that of the bucket's.

        The bucket's own name is MUSICGEN_BUCKET. An empty variable counts as unset.
        `default_model` is for platforms that bring a checkpoint of their own.
        Raises: `SettingsError` naming the variable.
        """
        env = os.environ if env is None else env
        read = Variables(env)
        plain = read.given(
            "MUSICGEN_", "model", "device", "precision", "engine", "log_level", "log_format"
        )
        plain.setdefault("model", default_model)
        data_dir = Path(read.text("MUSICGEN_DATA_DIR") or cls.data_dir)
        return cls(
            **plain,
            revision=read.text("MUSICGEN_REVISION"),
            base_model=read.text("MUSICGEN_BASE_MODEL"),
            weights_dir=Path(read.text("MUSICGEN_WEIGHTS_DIR") or cls.weights_dir),
            compile=read.switch("MUSICGEN_COMPILE"),
            threads=read.whole("MUSICGEN_THREADS"),
            # Cog gives its worker this one: predictions side by side are then slots as well.
            slots=read.whole("MUSICGEN_SLOTS") or read.whole("COG_MAX_CONCURRENCY") or cls.slots,
            models_kept=read.whole("MUSICGEN_MODELS_KEPT") or cls.models_kept,
            stream=read.switch("MUSICGEN_STREAM"),
            data_dir=data_dir,
            spool_dir=Path(read.text("MUSICGEN_SPOOL_DIR") or data_dir / "spool"),
            input_networks=read.several("MUSICGEN_INPUT_NETWORKS"),
            manifest=read.switch("MUSICGEN_MANIFEST"),
            separation=read.text("MUSICGEN_SEPARATION") or cls.separation,
            bucket=_bucket(read),
            remote=RemoteSettings.from_env(env),
        )


@dataclass(frozen=True)
class RemoteTokens:
    """What deployments elsewhere are asked with, by the variables that the platforms' own tools
    use: REPLICATE_API_TOKEN, RUNPOD_API_KEY, HF_TOKEN."""

    replicate: str | None = field(default=None, repr=False)
    runpod: str | None = field(default=None, repr=False)
    huggingface: str | None = field(default=None, repr=False)

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> RemoteTokens:
        read = Variables(os.environ if env is None else env)
        names = ("REPLICATE_API_TOKEN", "RUNPOD_API_KEY", "HF_TOKEN")
        return cls(*(read.text(name) for name in names))


def _bucket(read: Variables) -> BucketSettings:
    texts = read.given(
        "MUSICGEN_BUCKET_",
        *("endpoint_url", "region", "prefix", "addressing", "encryption", "kms_key"),
        *("storage_class", "tags", "public_url", "access_key_id", "secret_access_key"),
    )
    return BucketSettings(
        name=read.text("MUSICGEN_BUCKET"),
        **texts,
        url_seconds=read.whole("MUSICGEN_BUCKET_URL_SECONDS") or BucketSettings.url_seconds,
        deadline=float(read.whole("MUSICGEN_BUCKET_DEADLINE") or BucketSettings.deadline),
    )


class Variables:
    """Variables of the environment by type; an empty one is None."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env

    def text(self, variable: str) -> str | None:
        return self._env.get(variable) or None

    def given(self, prefix: str, *names: str) -> dict[str, str]:
        values = {name: self.text(prefix + name.upper()) for name in names}
        return {name: value for name, value in values.items() if value is not None}

    def several(self, variable: str) -> tuple[str, ...]:
        parts = (self.text(variable) or "").split(",")
        return tuple(part.strip() for part in parts if part.strip())

    def whole(self, variable: str) -> int | None:
        value = self.text(variable)
        if value is not None and (not value.isdecimal() or int(value) < 1):
            raise SettingsError(variable, value, "a whole number from 1")
        return None if value is None else int(value)

    def switch(self, variable: str) -> bool:
        value = (self.text(variable) or "0").lower()
        if value not in _TRUE | _FALSE:
            raise SettingsError(variable, value, "1 or 0")
        return value in _TRUE


def check_choice(variable: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise SettingsError(variable, value, f"choose one of {', '.join(choices)}")


def check_network(variable: str, value: str) -> None:
    try:
        ip_network(value)
    except ValueError:
        allowed = "networks such as 10.1.0.0/16, with commas between them"
        raise SettingsError(variable, value, allowed) from None


def _check_range(variable: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise SettingsError(variable, str(value), f"from {low:g} to {high:g}")
