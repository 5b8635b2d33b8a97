"""Choice of the decoder of a request."""

from __future__ import annotations

from collections.abc import Collection

from musicgen.catalog import MUSICGEN_LICENCE
from musicgen.engine.interface import ENGINE_ADVICE
from musicgen.errors import PartUnavailable
from musicgen.request import GenerationRequest
from musicgen.request.limits import MULTI_BAND_DIFFUSION

OFF = "off"
FIELD = "decoder"
_TURNED_OFF = "Multi-band diffusion is turned off."
_NO_WEIGHTS = "The weights of multi-band diffusion are in no cache here, or cannot be downloaded."


def choose_diffusion(request: GenerationRequest, weights: str) -> str | None:
    """Return the weights of multi-band diffusion for a request, or None for EnCodec's decoder.

    `weights`: as in the settings. Raises: `PartUnavailable`.
    """
    if request.decoder != MULTI_BAND_DIFFUSION:
        return None
    if weights == OFF:
        raise PartUnavailable(FIELD, _TURNED_OFF)
    return weights


def find_missing_diffusion(
    weights: str, absent: Collection[str], *, has_engine: bool = True
) -> str | None:
    """Return why there is no decoding by diffusion here, or None. Loads nothing.

    `absent`: names of the hub that this machine cannot have. `has_engine`: whether the engine of
    the default model can do it.
    """
    if weights == OFF:
        return _TURNED_OFF
    if not has_engine:
        return ENGINE_ADVICE
    return _NO_WEIGHTS if weights in absent else None


def add_licence(model: str, diffusion: str | None) -> str:
    """Return the licence of a clip: the model's, and that of the published weights of diffusion."""
    if diffusion is None or model == MUSICGEN_LICENCE:
        return model
    return f"{model}, decoder {MUSICGEN_LICENCE}"
