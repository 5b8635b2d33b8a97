"""MusicGen on Hugging Face Inference Endpoints, which look for `EndpointHandler` in this file.

It lies at the root of the model's repository, beside `musicgen/`, `handlers/` and the checkpoint;
`python -m infra.huggingface.layout` builds this repository. MUSICGEN_DATA_DIR is ignored: clips go
into the answer, or into MUSICGEN_BUCKET.
"""

from __future__ import annotations

# ruff: noqa: E402
from pathlib import Path

from musicgen.process import startup

startup.begin(Path(__file__).parent)  # reads the weights during the imports below

from collections.abc import Mapping
from typing import Any

from handlers.hf_endpoint import EndpointCalls, find_model
from musicgen.predictor import Predictor
from musicgen.process.logs import start_logging
from musicgen.settings import DEFAULT_MODEL, Settings


class EndpointHandler:
    """One loaded model behind one endpoint."""

    def __init__(self, path: str = "") -> None:
        """Load the model and run it once, ahead of the first call.

        The model is MUSICGEN_MODEL, or else the one contained in the repository at `path` or named
        by it.

        Raises: the errors of `Predictor.load`; the endpoint then does not start.
        """
        settings = Settings.from_env(default_model=find_model(Path(path)) or DEFAULT_MODEL)
        start_logging(settings.log_level, as_json=settings.logs_json)
        predictor = Predictor.load(settings, answers_clips=True)
        predictor.warm_up()
        self._calls = EndpointCalls(predictor, settings)
        startup.ready()

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any] | list[dict[str, Any]]:
        """Answer one call.

        Raises: `EndpointError`; the caller gets its text with status 400.
        """
        return self._calls.handle(data)
