"""Choice of the decoder of a request."""

from __future__ import annotations

from musicgen.catalog import MUSICGEN_LICENCE
from musicgen.errors import InvalidRequest
from musicgen.request import GenerationRequest
from musicgen.request.limits import MULTI_BAND_DIFFUSION

OFF = "off"


def choose_diffusion(request: GenerationRequest, weights: str) -> str | None:
    """Return the weights of multi-band diffusion for a request, or None for EnCodec's decoder.

    `weights`: as in the settings. Raises: `InvalidRequest`.
    """
    if request.decoder != MULTI_BAND_DIFFUSION:
        return None
    if weights == OFF:
        problem, advice = "must be encodec here", "Multi-band diffusion is turned off."
        raise InvalidRequest("decoder", problem, advice=advice)
    return weights


def add_licence(model: str, diffusion: str | None) -> str:
    """Return the licence of a clip: the model's, and that of the published weights of diffusion."""
    if diffusion is None or model == MUSICGEN_LICENCE:
        return model
    return f"{model}, decoder {MUSICGEN_LICENCE}"
