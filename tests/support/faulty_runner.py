"""predict.py's Runner with a device that fails, and a worker that dies, when a prompt says so."""

from __future__ import annotations

import os
from typing import Any

import predict
from musicgen.errors import DeviceFault
from musicgen.generation import Generation
from musicgen.predictor import Predictor
from musicgen.request import GenerationRequest


class _Faulty(Predictor):
    def start(self, request: GenerationRequest, *rest: Any, **options: Any) -> Generation:
        if request.prompt == "fault":
            raise DeviceFault("the device is lost")
        if request.prompt == "crash":
            os._exit(1)
        return super().start(request, *rest, **options)


class Runner(predict.Runner):
    """What Cog loads."""

    def setup(self, weights: str | None = None) -> None:
        """As that of predict.py."""
        predict.Predictor = _Faulty  # type: ignore[attr-defined]
        super().setup(weights)
