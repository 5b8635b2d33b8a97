"""Making the clips of a request elsewhere, from its fields to files that are known to be sound."""

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
from musicgen.remote import meta_musicgen
from musicgen.remote.budget import round_usd
from musicgen.remote.clips import RemoteClip, type_of
from musicgen.remote.factory import open_remote
from musicgen.remote.fields import fields_of
from musicgen.remote.usage import Meter
from musicgen.request import GenerationRequest, seed_of_variation
from musicgen.request.limits import SEED_MAX, VARIATIONS_MAX
from musicgen.settings import RemoteTokens
from musicgen.settings.remote import RemoteSettings

ESTIMATE_MIN_SECONDS = 5.0
"""Of compute: no clip is so short that nothing else takes time."""
_WHICH = re.compile(r"clip (\d+) of (\d+): ")
_PERCENT = re.compile(r"\b(\d{1,3})%")

TellFraction = Callable[[float | None, str], None]
"""Called with the part that is done, from 0 to 1 and never less than before, None while nobody
knows, and with a line for a person. It must not raise."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Made:
    """What was made elsewhere. `clips` know their seed, prompt and type; their `seconds`, `model`
    and `licence` are None where the platform does not tell. `cost_usd` is `compute_seconds` at the
    price that is set."""

    clips: tuple[RemoteClip, ...]
    made_by: str
    cost_usd: float
    compute_seconds: float


class RemoteMaker:
    """The deployment that `settings` name, at the price that they say."""

    def __init__(self, settings: RemoteSettings, tokens: RemoteTokens) -> None:
        """Raises: `SettingsError` where no deployment or no token for it is set."""
        if settings.target is None:
            raise SettingsError("MUSICGEN_REMOTE_TARGET", "must be set to generate remotely")
        for platform, variable, token in (
            ("replicate", "REPLICATE_API_TOKEN", tokens.replicate),
            ("runpod", "RUNPOD_API_KEY", tokens.runpod),
        ):
            if settings.target == platform and not token:
                raise SettingsError(variable, f"must be set to use {platform}")
        self.made_by = settings.label
        self._target = settings.target
        self._name = settings.name
        self._settings = settings
        self._tokens = tokens
        self._is_meta = settings.target == "replicate" and meta_musicgen.means_it(
            settings.name or ""
        )

    def estimate(self, fields: Mapping[str, Any]) -> Decimal:
        """USD that a request may cost.

        Raises: `InvalidRequest`; `Refused` for what this deployment cannot make.
        """
        request, _ = _checked(fields)
        self._sent(request, "data:")
        audio_seconds = request.seconds_to_generate * len(request.texts)
        return self.cost(max(audio_seconds * self._settings.factor, ESTIMATE_MIN_SECONDS))

    def cost(self, compute_seconds: float) -> Decimal:
        """USD."""
        return round_usd((self._settings.price or Decimal(0)) * Decimal(str(compute_seconds)))

    def make(
        self,
        fields: Mapping[str, Any],
        *,
        tell: TellFraction,
        cancelled: threading.Event,
        meter: Meter | None = None,
    ) -> Made:
        """Asks and waits, for no longer than the timeout; setting `cancelled` cancels it there too.

        `fields`: those of a request; `input_audio` is a URL, a data: URI, base64 or a `Path` of
        this machine. `meter` gets to know what is used, also by what fails.
        Raises: `InvalidRequest`, before anybody is asked; `RemoteError`; `GenerationCancelled`.
        """
        meter = meter or Meter()
        request, input_audio = _checked(fields)
        sent = self._sent(request, input_audio)
        timeout = self._settings.timeout_seconds
        try:
            remote = open_remote(self._target, self._name, self._tokens, timeout, cancelled, meter)
            clips = remote.generate(sent, _Teller(tell))
        except MusicGenError:
            raise
        except Exception as error:
            logger.exception("%s was not understood", self.made_by)
            raise RemoteError(f"the answer of {self.made_by} is not understood") from error
        if len(clips) != len(request.texts):
            raise RemoteError(f"{len(clips)} clips came in place of {len(request.texts)}")
        whole = tuple(
            self._completed(clip, index, request, sent) for index, clip in enumerate(clips)
        )
        return Made(whole, self.made_by, float(self.cost(meter.seconds)), meter.seconds)

    def _sent(self, request: GenerationRequest, input_audio: str | None) -> dict[str, Any]:
        fields = fields_of(request, input_audio)
        return meta_musicgen.translated(fields) if self._is_meta else fields

    def _completed(
        self, clip: RemoteClip, index: int, request: GenerationRequest, sent: Mapping[str, Any]
    ) -> RemoteClip:
        """With what is known here. Raises: `RemoteError` for what is no sound."""
        first = sent["seed"]
        model = clip.model or sent.get("model_version")
        return replace(
            clip,
            content_type=type_of(clip.data, request.output_format),
            seed=seed_of_variation(first, index) if clip.seed is None else clip.seed,
            prompt=request.texts[index] if clip.prompt is None else clip.prompt,
            model=model,
            licence=meta_musicgen.LICENCE if self._is_meta else clip.licence,
        )


def _checked(fields: Mapping[str, Any]) -> tuple[GenerationRequest, str | None]:
    """The request as it is checked everywhere, with a seed, and the sound that came as a text."""
    given = dict(fields)
    audio = given.get("input_audio")
    if audio is not None and not isinstance(audio, Path):
        if not isinstance(audio, str) or not audio:
            allowed = "an http(s) URL, a data: URI, base64 or a file"
            raise InvalidInputAudio("input_audio", type(audio).__name__, allowed)
        given["input_audio"] = Path("as it came")
    request = GenerationRequest.from_mapping(given)
    if request.seed is None:
        # Not 0, which some deployments take for any, and no variation of it is 0.
        request = replace(request, seed=1 + secrets.randbelow(SEED_MAX - VARIATIONS_MAX))
    return request, audio if isinstance(audio, str) else None


class _Teller:
    """From lines to the part that is done; it never goes back."""

    def __init__(self, tell: TellFraction) -> None:
        self._tell = tell
        self._fraction: float | None = None

    def __call__(self, line: str) -> None:
        which, percent = _WHICH.match(line), _PERCENT.search(line)
        if which or percent:
            clip, clips = (int(which[1]), int(which[2])) if which else (1, 1)
            part = min(int(percent[1]) / 100, 1.0) if percent else 0.0
            self._fraction = max((clip - 1 + part) / clips, self._fraction or 0.0)
        self._tell(self._fraction, line)
