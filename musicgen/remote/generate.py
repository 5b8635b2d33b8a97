"""Generation by a remote deployment: from the fields of a request to verified files."""

from __future__ import annotations

import logging
import re
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from musicgen.errors import InvalidInputAudio, MusicGenError, RemoteError, SettingsError
from musicgen.errors.counts import format_count
from musicgen.remote import meta_musicgen
from musicgen.remote.budget import round_usd
from musicgen.remote.clips import RemoteClip, check_type
from musicgen.remote.errors import RemoteRefusal
from musicgen.remote.factory import open_remote
from musicgen.remote.fields import build_fields
from musicgen.remote.usage import Meter
from musicgen.request import GenerationRequest, seed_of_variation
from musicgen.request.limits import SEED_MAX, VARIATIONS_MAX
from musicgen.settings import RemoteTokens
from musicgen.settings.remote import RemoteSettings

ESTIMATE_MIN_SECONDS = 5.0
"""Least estimate of compute: even the shortest clip has a fixed cost."""
_CLIP = re.compile(r"clip (\d+) of (\d+): ")
_PERCENT = re.compile(r"\b(\d{1,3})%")

OnFraction = Callable[[float | None, str], None]
"""Called with the finished part, from 0 to 1 and never decreasing, and a line for a person.

The part is None while it is unknown. The function must not raise."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RemoteResult:
    """Clips of a remote deployment, with their cost.

    `clips` have seed, prompt and type; `seconds`, `model` and `licence` are None if the platform
    does not report them. `cost_usd`: `compute_seconds` at the configured price.
    """

    clips: tuple[RemoteClip, ...]
    made_by: str
    cost_usd: float
    compute_seconds: float


class RemoteGenerator:
    """The configured deployment, at the configured price.

    Raises: `SettingsError` for a missing target or token.
    """

    def __init__(self, settings: RemoteSettings, tokens: RemoteTokens) -> None:
        if settings.target is None:
            raise SettingsError("MUSICGEN_REMOTE_TARGET", "must be set to generate remotely")
        for platform, variable, token in (
            ("replicate", "REPLICATE_API_TOKEN", tokens.replicate),
            ("runpod", "RUNPOD_API_KEY", tokens.runpod),
        ):
            if settings.target == platform and not token:
                raise SettingsError(variable, f"must be set to use {platform}")
        self.label = settings.label
        self._target = settings.target
        self._name = settings.name
        self._settings = settings
        self._tokens = tokens
        self._is_meta = settings.target == "replicate" and meta_musicgen.is_meta_musicgen(
            settings.name or ""
        )

    def estimate_cost(self, fields: Mapping[str, Any]) -> Decimal:
        """Estimate the cost of a request, in USD.

        Raises: `InvalidRequest`; `RemoteRefusal` for a request beyond this deployment.
        """
        request, _ = _validate(fields)
        self._build_fields(request, "data:")
        audio_seconds = request.seconds_to_generate * len(request.texts)
        return self.compute_cost(max(audio_seconds * self._settings.factor, ESTIMATE_MIN_SECONDS))

    def compute_cost(self, compute_seconds: float) -> Decimal:
        """Return the price of some seconds of compute, in USD."""
        return round_usd((self._settings.price or Decimal(0)) * Decimal(str(compute_seconds)))

    def generate(
        self,
        fields: Mapping[str, Any],
        *,
        on_progress: OnFraction,
        cancelled: threading.Event,
        meter: Meter | None = None,
    ) -> RemoteResult:
        """Send a request and wait for its clips, up to the timeout.

        `fields`: those of a request; `input_audio` is a URL, a data: URI, base64 or a local `Path`.
        Setting `cancelled` cancels the remote job too. `meter`: counts the compute, also of a
        failed request. Raises: `InvalidRequest`, before any call; `RemoteError`;
        `GenerationCancelled`.
        """
        meter = meter or Meter()
        request, input_audio = _validate(fields)
        sent_fields = self._build_fields(request, input_audio)
        timeout = self._settings.timeout_seconds
        try:
            remote = open_remote(self._target, self._name, self._tokens, timeout, cancelled, meter)
            clips = remote.generate(sent_fields, _FractionParser(on_progress))
        except MusicGenError:
            raise
        except Exception as error:
            logger.exception("the answer of %s has an unknown form", self.label)
            raise RemoteError(f"the answer of {self.label} has an unknown form.") from error
        if len(clips) != len(request.texts):
            sent = format_count(len(clips), "clip")
            raise RemoteError(f"{self.label} sent {sent}, not {len(request.texts)}.")
        whole = tuple(
            self._complete(clip, index, request, sent_fields) for index, clip in enumerate(clips)
        )
        cost = float(self.compute_cost(meter.seconds))
        return RemoteResult(whole, self.label, cost, meter.seconds)

    def _build_fields(self, request: GenerationRequest, input_audio: str | None) -> dict[str, Any]:
        for name, is_requested in (("stems", request.stems), ("midi", request.midi)):
            if is_requested:
                reason = f"{name} are made by this server's own workers only"
                raise RemoteRefusal("refused here", reason, is_request_fault=True)
        fields = build_fields(request, input_audio)
        return meta_musicgen.translate(fields) if self._is_meta else fields

    def _complete(
        self,
        clip: RemoteClip,
        index: int,
        request: GenerationRequest,
        sent_fields: Mapping[str, Any],
    ) -> RemoteClip:
        """Return a clip with its type, seed and prompt. Raises: `RemoteError` for no audio file."""
        first = sent_fields["seed"]
        model = clip.model or sent_fields.get("model_version")
        return replace(
            clip,
            content_type=check_type(clip.data, request.output_format),
            seed=seed_of_variation(first, index) if clip.seed is None else clip.seed,
            prompt=request.texts[index] if clip.prompt is None else clip.prompt,
            model=model,
            licence=meta_musicgen.LICENCE if self._is_meta else clip.licence,
        )


def _validate(fields: Mapping[str, Any]) -> tuple[GenerationRequest, str | None]:
    """Return the validated request, with a seed, and its input audio if that is a text."""
    checked = dict(fields)
    audio = checked.get("input_audio")
    if audio is not None and not isinstance(audio, Path):
        if not isinstance(audio, str) or not audio:
            problem = "must be an http(s) URL, a data: URI, base64 or a file"
            raise InvalidInputAudio("input_audio", problem)
        # Only a file is validated here; the deployment validates the text.
        checked["input_audio"] = Path("not a local file")
    request = GenerationRequest.from_mapping(checked)
    if request.seed is None:
        # Not 0, a random seed for some deployments; and no variation reaches 0.
        request = replace(request, seed=1 + secrets.randbelow(SEED_MAX - VARIATIONS_MAX))
    return request, audio if isinstance(audio, str) else None


class _FractionParser:
    """Parser of progress lines; the finished part never decreases."""

    def __init__(self, on_fraction: OnFraction) -> None:
        self._on_fraction = on_fraction
        self._fraction: float | None = None

    def __call__(self, line: str) -> None:
        clip_match, percent = _CLIP.match(line), _PERCENT.search(line)
        if clip_match or percent:
            clip, clips = (int(clip_match[1]), int(clip_match[2])) if clip_match else (1, 1)
            part = min(int(percent[1]) / 100, 1.0) if percent else 0.0
            self._fraction = max((clip - 1 + part) / clips, self._fraction or 0.0)
        self._on_fraction(self._fraction, line)
