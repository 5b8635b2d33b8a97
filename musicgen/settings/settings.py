"""Settings of a predictor. Imports no torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from musicgen.catalog import DIFFUSION, DIFFUSION_FILE, MUSICGEN_LICENCE
from musicgen.errors import SettingsError
from musicgen.settings.bucket import BucketSettings
from musicgen.settings.credentials import CredentialSettings
from musicgen.settings.declaration import (
    Declaration,
    check_settings,
    declare,
    list_misspelt,
    read_variables,
    setting,
)
from musicgen.settings.remote import RemoteSettings

ENGINES = ("musicgen", "transformers")
PRECISIONS = ("auto", "float32", "bfloat16", "int8", "int4")
DEFAULT_MODEL = "demo"
DATA_DIR = Declaration(
    variable="MUSICGEN_DATA_DIR",
    kind="path",
    default=Path("outputs"),
    unset="`~/.local/share/musicgen`, of root `/var/lib/musicgen`; `outputs` for the clips of "
    "`musicgen generate`",
    help="Folder for clips without a bucket, for uploads and for the embedded database.",
)


def find_data_dir(env: Mapping[str, str]) -> Path:
    """Return the folder of servers, the same wherever a command is started.

    It is MUSICGEN_DATA_DIR, or `musicgen` in the user's data folder by the XDG specification. Root
    has /var/lib/musicgen, because PostgreSQL runs as another user, who may not enter root's home.
    """
    if given := env.get(DATA_DIR.variable):
        return Path(given)
    base = Path(env.get("XDG_DATA_HOME") or "").expanduser()
    if not base.is_absolute():
        is_root = os.geteuid() == 0
        base = Path("/var/lib" if is_root else os.path.expanduser("~/.local/share"))  # noqa: PTH111
    # A user without a home has no folder of their own.
    return base / "musicgen" if base.is_absolute() else Path("outputs")


@dataclass(frozen=True)
class Settings:
    """Settings of a predictor, its storage and its remote deployment."""

    model: str = setting(
        "MUSICGEN_MODEL",
        "text",
        DEFAULT_MODEL,
        help="Model to load: a catalog name, a hub name (`OWNER/NAME`), a folder, a packed file, "
        "or a tar or zip of a folder. Files may have an address (`https://`, `s3://`). Each may "
        "hold an adapter of PEFT. Meta's weights are CC-BY-NC-4.0: no commercial use.",
    )
    revision: str | None = setting(
        "MUSICGEN_REVISION", "text", unset="any", help="Required commit of the weights on the hub."
    )
    base_model: str | None = setting(
        "MUSICGEN_BASE_MODEL",
        "text",
        unset="the one in the adapter's configuration",
        help="Checkpoint to merge an adapter into.",
    )
    base_revision: str | None = setting(
        "MUSICGEN_BASE_REVISION",
        "text",
        unset="the one in the adapter's configuration, or any",
        help="Required commit of an adapter's base model on the hub.",
    )
    weights_dir: Path = setting(
        "MUSICGEN_WEIGHTS_DIR",
        "path",
        Path("~/.cache/musicgen"),
        help="Folder for downloaded weights and for the contents of archives.",
    )
    device: str = setting(
        "MUSICGEN_DEVICE",
        "text",
        "auto",
        pattern=r"(auto|cpu|cuda)(:\d+)?",
        form="auto, cpu, cuda or cuda:N",
        help="Device of the model. `auto` is the first GPU if there is one, else the processor.",
    )
    precision: str = setting(
        "MUSICGEN_PRECISION",
        "text",
        "auto",
        choices=PRECISIONS,
        help="Precision of the weights. `auto` is `bfloat16` on a GPU and `int8` on a processor; "
        "`int8` and `int4` run on processors only. docs/precision.md has the cost of each.",
    )
    engine: str = setting(
        "MUSICGEN_ENGINE",
        "text",
        "musicgen",
        choices=ENGINES,
        help="Decode engine. `transformers` is the slow reference.",
    )
    compile: bool = setting(
        "MUSICGEN_COMPILE",
        "switch",
        False,
        help="1 compiles the decoder with torch.compile, on a GPU. `TORCHINDUCTOR_CACHE_DIR` keeps "
        "the result.",
    )
    kernels: bool = setting(
        "MUSICGEN_KERNELS",
        "switch",
        False,
        help="1 decodes with this project's Triton kernels, on a GPU. Off until they are measured.",
    )
    kernel_weights: str = setting(
        "MUSICGEN_KERNEL_WEIGHTS",
        "text",
        "own",
        choices=("own", "int8", "fp8"),
        help="Weights read by the kernels of `MUSICGEN_KERNELS`. `own` are the model's; `int8` and "
        "`fp8` are rounded to 8 bits, with a scale for each output. `fp8` needs compute capability "
        "8.9.",
    )
    kernel_overlap: bool = setting(
        "MUSICGEN_KERNEL_OVERLAP",
        "switch",
        False,
        help="1 starts each kernel of `MUSICGEN_KERNELS` while the one before ends, from compute "
        "capability 9.0.",
    )
    kv_cache: str = setting(
        "MUSICGEN_KV_CACHE",
        "text",
        "own",
        choices=("own", "int8"),
        help="Keys and values of the decode steps on a GPU. `own` have the type of the weights; "
        "`int8` are rounded to 8 bits, with a factor for each head and column, so more requests "
        "fit into the memory. Needs `MUSICGEN_KERNELS=1`.",
    )
    graphs: str = setting(
        "MUSICGEN_GRAPHS",
        "text",
        "steps",
        choices=("steps", "all"),
        help="Work captured as CUDA graphs on a GPU: decode steps, or also the text encoder and "
        "the pieces of live audio. `steps` until the others are measured.",
    )
    codec_stream: bool = setting(
        "MUSICGEN_CODEC_STREAM",
        "switch",
        False,
        help="1 decodes sound in a CUDA stream of its own, beside the decode steps. Off until it "
        "is measured.",
    )
    threads: int | None = setting(
        "MUSICGEN_THREADS",
        "integer",
        least=1,
        unset="the container's CPU quota",
        help="Number of processor threads.",
    )
    slots: int = setting(
        "MUSICGEN_SLOTS",
        "integer",
        1,
        least=1,
        # Predictions side by side in Cog's worker are slots as well.
        fallback="COG_MAX_CONCURRENCY",
        help="Number of requests decoded at once, as one batch.",
    )
    models_kept: int = setting(
        "MUSICGEN_MODELS_KEPT",
        "integer",
        1,
        least=1,
        help="Number of models kept in memory, for requests with `model_version`. The model idle "
        "longest is unloaded first.",
    )
    stream: bool = setting(
        "MUSICGEN_STREAM", "switch", False, help="1 makes RunPod stream the audio of each job."
    )
    data_dir: Path = declare(DATA_DIR)
    spool_dir: Path = setting(
        "MUSICGEN_SPOOL_DIR",
        "path",
        Path("outputs/spool"),
        unset="`spool` inside MUSICGEN_DATA_DIR, or beside the embedded database",
        help="Folder for clips not yet uploaded to the bucket.",
    )
    input_networks: tuple[str, ...] = setting(
        "MUSICGEN_INPUT_NETWORKS",
        "networks",
        (),
        help="Private networks allowed as a source of input audio. Never list the network of a "
        "cloud's metadata service.",
    )
    bucket_networks: tuple[str, ...] = setting(
        "MUSICGEN_BUCKET_NETWORKS",
        "networks",
        (),
        help="Private networks allowed for a bucket that a RunPod job brings, also without TLS. "
        "Never list the network of a cloud's metadata service.",
    )
    separation: str = setting(
        "MUSICGEN_SEPARATION",
        "text",
        "auto",
        form="auto, off, NAME, FOLDER/NAME or FILE.onnx",
        help="Source separation for stems, and before a melody is read. `auto` is Demucs if the "
        "extra `demucs` and its weights are there; `off` turns it off; otherwise a Demucs model. "
        "FILE.onnx is one in ONNX and needs the extra `stems`, without PyTorch.",
    )
    diffusion: str = setting(
        "MUSICGEN_DIFFUSION",
        "text",
        DIFFUSION,
        form="off, a hub name, a folder or a file",
        help=f"Weights of multi-band diffusion ({DIFFUSION_FILE}), downloaded and loaded at the "
        f"first request with `decoder` multi_band_diffusion; {MUSICGEN_LICENCE}: no commercial "
        "use. `off` refuses such requests.",
    )
    manifest: bool = setting(
        "MUSICGEN_MANIFEST",
        "switch",
        False,
        help="1 writes a JSON file beside the clips of each job: request, seeds, model and "
        "revision, versions, licence, SHA-256.",
    )
    log_level: str = setting(
        "MUSICGEN_LOG_LEVEL",
        "text",
        "INFO",
        choices=("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"),
        help="Least severe level to log.",
    )
    log_format: str = setting(
        "MUSICGEN_LOG_FORMAT",
        "text",
        "text",
        choices=("text", "json"),
        help="Form of a log line. `json` is one object a line, with job and trace.",
    )
    bucket: BucketSettings = field(default_factory=BucketSettings)
    credentials: CredentialSettings = field(default_factory=CredentialSettings)
    remote: RemoteSettings = field(default_factory=RemoteSettings)

    def __post_init__(self) -> None:
        check_settings(self)
        if self.kv_cache != "own" and not self.kernels:
            raise SettingsError(
                "MUSICGEN_KV_CACHE",
                "needs this project's kernels",
                value=self.kv_cache,
                advice="Set MUSICGEN_KERNELS to 1, or leave MUSICGEN_KV_CACHE unset.",
            )

    @property
    def logs_json(self) -> bool:
        """Whether log lines are JSON objects."""
        return self.log_format == "json"

    @classmethod
    def from_env(
        cls, env: Mapping[str, str] | None = None, *, default_model: str = DEFAULT_MODEL
    ) -> Settings:
        """Read the settings, those of the bucket and the remote deployment included.

        An empty variable counts as unset. `default_model`: for platforms with a checkpoint of
        their own. Raises: `SettingsError` with the name of the variable, also for a variable that
        begins with MUSICGEN_ and is no setting.
        """
        env = os.environ if env is None else env
        for error in list_misspelt(env):
            raise error
        values = read_variables(cls, env)
        if not env.get("MUSICGEN_MODEL"):
            values["model"] = default_model
        if not env.get("MUSICGEN_SPOOL_DIR"):
            values["spool_dir"] = find_data_dir(env) / "spool"
        return cls(
            **values,
            bucket=BucketSettings.from_env(env),
            credentials=CredentialSettings.from_env(env),
            remote=RemoteSettings.from_env(env),
        )
