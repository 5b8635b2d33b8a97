"""MusicGen on Hugging Face Inference Endpoints, which look for `EndpointHandler` in this file.

It lies at the root of the model's repository, beside `musicgen/`, `handlers/` and the checkpoint:
`python -m infra.huggingface.layout` puts them together. MUSICGEN_DATA_DIR has no meaning here:
clips go into the answer, or into MUSICGEN_BUCKET.
"""

from __future__ import annotations

# ruff: noqa: E402
from pathlib import Path

from musicgen.process import startup

startup.begin(Path(__file__).parent)  # the weights are read while the rest is imported

from collections.abc import Mapping
from typing import Any

from handlers.hf_endpoint import Endpoint, model_in
from musicgen.predictor import Predictor
from musicgen.process.logs import start_logging
from musicgen.settings import DEFAULT_MODEL, Settings


class EndpointHandler:
    """One loaded model behind one endpoint."""

    def __init__(self, path: str = "") -> None:
        """Loads MUSICGEN_MODEL, or else what the repository at `path` brings or names, and runs
        it once, so that the first caller waits for neither.

        Raises: what `Predictor.load` raises; the endpoint does not start then.
        """
        settings = Settings.from_env(default_model=model_in(Path(path)) or DEFAULT_MODEL)
        start_logging(settings.log_level, as_json=settings.logs_json)
        predictor = Predictor.load(settings)
        predictor.warm_up()
        self.answer = Endpoint(predictor, settings)
        startup.ready()

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any] | list[dict[str, Any]]:
        """One call. Raises: `EndpointError`, whose text the caller reads with status 400."""
        return self.answer(data)
