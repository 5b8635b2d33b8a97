"""Route of estimates: time and price of a job before it is submitted."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from handlers.job_api.api.accept import check_model
from handlers.job_api.api.context import Context
from handlers.job_api.api.routes_jobs import CurrentCaller
from handlers.job_api.api.schemas import ErrorReply
from handlers.job_api.store import queue
from handlers.job_api.store.abilities import check_needs
from handlers.job_api.store.models import find_available_models
from handlers.job_api.store.needs import list_needs
from musicgen.request.limits import (
    DURATION_DEFAULT_SECONDS,
    DURATION_MAX_SECONDS,
    DURATION_MIN_SECONDS,
    PROMPT_MAX_CHARACTERS,
    VARIATIONS_MAX,
)

router = APIRouter(tags=["jobs"])
_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorReply} for status in (401, 422, 429, 503)
}
Duration = Annotated[
    float,
    Query(
        ge=DURATION_MIN_SECONDS,
        le=DURATION_MAX_SECONDS,
        description="Seconds of audio of each clip",
    ),
]
Variations = Annotated[int, Query(ge=1, le=VARIATIONS_MAX, description="Number of clips")]


class JobPrice(BaseModel):
    """Price of a job."""

    amount: float
    currency: str = Field(description="ISO 4217 code")


class JobEstimate(BaseModel):
    """Estimate for a job submitted now."""

    audio_seconds: float = Field(description="seconds of audio of all clips together")
    wait_seconds: float | None = Field(
        description="seconds until the job starts; null without a worker"
    )
    work_seconds: float = Field(description="seconds from its start to its end")
    is_measured: bool = Field(
        description="whether jobs of the same kind have been measured; else work_seconds is a guess"
    )
    price: JobPrice | None = Field(description="null where the operator has set no price")


ModelName = Annotated[str | None, Query(max_length=PROMPT_MAX_CHARACTERS, description="A model")]
Decoder = Annotated[Literal["encodec", "multi_band_diffusion"], Query(description="The decoder")]
Stems = Annotated[bool, Query(description="With stems of each clip")]
Midi = Annotated[bool, Query(description="With the notes of each clip")]


@router.get("/estimate", response_model=JobEstimate, responses=_ERRORS)
async def estimate_job(
    request: Request,
    caller: CurrentCaller,
    duration: Duration = DURATION_DEFAULT_SECONDS,
    variations: Variations = 1,
    model_version: ModelName = None,
    decoder: Decoder = "encodec",
    stems: Stems = False,
    midi: Midi = False,
) -> JSONResponse:
    """Estimate time and price of a job, from the queue and the last jobs of the same kind.

    A model, a decoder and parts that have never been measured count by an assumption, and
    `is_measured` is false.
    """
    context: Context = request.app.state.context
    available = await find_available_models(context.pool, context.default_model)
    if model_version is not None:
        check_model(model_version, available)
    model = model_version or available.default
    asked = {"model_version": model, "decoder": decoder, "stems": stems, "midi": midi}
    needs = list_needs(asked)
    check_needs(needs, available)
    load = await context.meter.read()
    seconds = duration * variations
    wait = await context.estimate_wait(caller.owner, needs)
    is_remote = context.queue_for_new == queue.REMOTE
    pace = load.paces.find_pace(needs, is_remote=is_remote)
    return JSONResponse(
        {
            "audio_seconds": round(seconds, 3),
            "wait_seconds": None if wait is None else round(wait, 1),
            "work_seconds": round(seconds * pace, 1),
            "is_measured": load.paces.is_measured(needs, is_remote=is_remote),
            "price": _calculate_price(context, seconds),
        }
    )


def _calculate_price(context: Context, seconds: float) -> dict[str, Any] | None:
    per_minute = context.settings.price_per_minute
    if per_minute is None:
        return None
    amount = round(float(per_minute) * seconds / 60, 6)
    return {"amount": amount, "currency": context.settings.price_currency}
