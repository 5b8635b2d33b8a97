"""Checks of optional packages: those of the settings in use, and the formats of sound."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from handlers.doctor.finding import Finding
from handlers.doctor.plan import ServerPlan
from handlers.identity import PACKAGE, describe_namesakes
from handlers.job_api.packages import EXTRA, SERVER, list_database_packages
from musicgen.checkpoints.address import is_address
from musicgen.checkpoints.packed.choice import choose_packed
from musicgen.checkpoints.packed.format import NATIVE, read_header
from musicgen.errors import CheckpointError, MissingDependency
from musicgen.errors.installing import describe_install
from musicgen.midi.packages import find_missing
from musicgen.process.lazy_torch import UNPACKED
from musicgen.settings import Settings, TracingSettings

CHECK = "packages"
_FORMATS = {"flac": ("FLAC", "PCM_16"), "mp3": ("MP3", "MPEG_LAYER_III"), "ogg": ("OGG", "VORBIS")}


def check_packages(plan: ServerPlan) -> Iterator[Finding]:
    """Yield the extras in use. Raises: `MissingDependency` for the first missing package."""
    used = []
    for package, purpose, extra in _list_needs(plan):
        if find_spec(package) is None:
            raise MissingDependency(package, purpose, extra)
        used.append(package)
    yield Finding(CHECK, "ok", f"installed as needed: {', '.join(used)}")


def check_names() -> Iterator[Finding]:
    """Yield a warning about other installed projects with a package of the same name."""
    namesakes = describe_namesakes()
    if namesakes is None:
        yield Finding("names", "ok", f"no other project installs a package {PACKAGE}")
    else:
        yield Finding("names", "warning", namesakes)


def check_encoders() -> Iterator[Finding]:
    """Yield the output formats of this build of libsndfile."""
    import soundfile

    missing = [
        name
        for name, (container, codec) in _FORMATS.items()
        if not soundfile.check_format(container, codec)
    ]
    if not soundfile.check_format("OGG", "OPUS"):
        missing.append("opus")
    version = soundfile.__libsndfile_version__
    if missing:
        text = f"libsndfile {version} cannot write {', '.join(missing)}. Install soundfile's wheel."
        yield Finding("encoders", "warning", text)
    else:
        yield Finding("encoders", "ok", f"wav, flac, mp3, ogg, opus (libsndfile {version})")


def check_decoders() -> Iterator[Finding]:
    """Yield the formats of input audio that can be read."""
    formats = "wav, flac, mp3, ogg, opus, aiff"
    if find_spec("av") is None:
        advice = f"m4a, aac, mp4, webm need {describe_install('containers')}."
        yield Finding("decoders", "ok", f"{formats}; {advice}")
    else:
        yield Finding("decoders", "ok", f"{formats}, m4a, aac, mp4, webm")


def check_midi() -> Iterator[Finding]:
    """Yield whether clips can be had as MIDI."""
    missing = find_missing()
    text = "GET /v1/audio/JOB.mid makes MIDI of a clip" if missing is None else f"off: {missing}"
    yield Finding("midi", "ok", text)


def _needs_torch(settings: Settings) -> bool:
    """Return whether the worker's model is known to be no packed native file."""
    if settings.engine != "musicgen" or settings.device.startswith("cuda"):
        return True
    if is_address(settings.model):
        return False
    path = Path(settings.model)
    try:
        if not path.exists():
            return True
        chosen = choose_packed(path, "cpu", settings.precision, None)
        return chosen is None or not read_header(chosen)[1].form.startswith(NATIVE)
    except (CheckpointError, OSError):
        # The check of the model describes it.
        return False


def _list_needs(plan: ServerPlan) -> Iterator[tuple[str, str, str]]:
    """Yield module, purpose and extra of every package in use."""
    settings = plan.settings
    for module in (*SERVER, *list_database_packages(plan.api.database_url)):
        yield module, "the job API", EXTRA
    if settings.bucket.name is not None:
        yield "boto3", "a bucket", "s3"
        yield "tenacity", "a bucket", "s3"
    if TracingSettings.from_env().is_enabled:
        yield "opentelemetry", "tracing", "telemetry"
    if plan.generates:
        if _needs_torch(settings):
            yield "torch", UNPACKED, "torch"
        if settings.engine == "transformers":
            yield "transformers", "MUSICGEN_ENGINE=transformers", "transformers"
        if settings.separation not in ("auto", "off"):
            yield "demucs", f"MUSICGEN_SEPARATION={settings.separation}", "demucs"
