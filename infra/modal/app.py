"""MusicGen on Modal: `modal deploy -m infra.modal.app`, or `python -m infra.deploy modal`.

    modal run -m infra.modal.app::fill_volume                 # once: pack the weights
    modal deploy -m infra.modal.app
    python -c 'import modal; print(modal.Cls.from_name("musicgen", "MusicGenApp")().generate.remote(
        {"prompt": "fast high bells", "duration": 5}))'

`infra.modal.options` lists the variables to set before. The web address takes the same fields by
POST, with the headers Modal-Key and Modal-Secret of a proxy token. Meta's weights are licensed
CC-BY-NC-4.0: no commercial use.

Source: https://modal.com/docs/guide/memory-snapshots, /webhook-proxy-auth, /concurrent-inputs
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import modal

from infra.modal.options import OPTIONS_VARIABLE, ModalOptions, name_packed

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from handlers.modal_calls import ModalCalls

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = ModalOptions.from_env(os.environ)
WEIGHTS = Path("/weights")
"""Mount point of the volume."""
LONGEST_START_SECONDS = 1200
"""Without packed weights a start downloads and converts them."""
NOT_CODE = ("**/__pycache__", "**/*.cpp", "**/*.h")


def choose_model(model: str) -> str:
    """Return the packed file in the volume, or the model's own name."""
    packed = WEIGHTS / name_packed(model)
    return str(packed) if packed.is_file() else model


def _build_image() -> modal.Image:
    files = ("worker-requirements.txt", "torch-requirements.txt")
    image = modal.Image.debian_slim("3.12").uv_pip_install(
        requirements=[str(ROOT / "infra/docker" / name) for name in files]
    )
    image = image.env(
        {
            OPTIONS_VARIABLE: OPTIONS.to_json(),
            "HF_HOME": str(WEIGHTS / "huggingface"),
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "MUSICGEN_SLOTS": str(OPTIONS.slots),
        }
    )
    # Last, and outside the image's layers: a change of the code builds nothing anew.
    for folder in ("musicgen", "handlers", "infra/modal"):
        image = image.add_local_dir(ROOT / folder, f"/root/{folder}", ignore=list(NOT_CODE))
    return image


app = modal.App(OPTIONS.name, image=_build_image(), include_source=False)
volume = modal.Volume.from_name(f"{OPTIONS.name}-weights", create_if_missing=True)
secrets = [modal.Secret.from_name(name) for name in OPTIONS.secrets]


@app.cls(
    gpu=list(OPTIONS.gpu) or None,
    region=list(OPTIONS.region) or None,
    volumes={str(WEIGHTS): volume},
    secrets=secrets,
    min_containers=OPTIONS.min,
    max_containers=OPTIONS.max,
    scaledown_window=OPTIONS.idle,
    timeout=OPTIONS.call_seconds,
    startup_timeout=LONGEST_START_SECONDS,
    enable_memory_snapshot=OPTIONS.snapshot != "off",
    experimental_options={"enable_gpu_snapshot": True} if OPTIONS.snapshot == "gpu" else None,
)
@modal.concurrent(max_inputs=OPTIONS.slots)
class MusicGenApp:
    """One loaded model; its engine batches the calls of a container."""

    @modal.enter(snap=True)
    def prepare(self) -> None:
        """Import the code, and load the model where the snapshot can hold it."""
        import musicgen.predictor  # noqa: F401

        if OPTIONS.loads_before_snapshot:
            self._open()

    @modal.enter()
    def load(self) -> None:
        """Load the model and run it once, ahead of the first call.

        Raises: the errors of `Predictor.load`; the container then does not start.
        """
        self._open()

    @modal.exit()
    def close(self) -> None:
        """Free the model. Modal calls it once the running calls have ended."""
        if hasattr(self, "_calls"):
            self._calls.close()

    @modal.method()
    async def generate(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Return the reply to the fields of a request, or {"error": "code: text"}."""
        # Not yet open in a local call: Modal then runs no `enter` before a coroutine.
        return await self._open().generate(fields)

    if OPTIONS.access != "off":

        @modal.asgi_app(requires_proxy_auth=OPTIONS.access == "key")
        def web(self) -> Starlette:
            """Return the application of the web address."""
            return self._open().build_web_app()

    def _open(self) -> ModalCalls:
        """Load the model once. Modal forbids calls of a method marked `enter`."""
        if not hasattr(self, "_calls"):
            self._calls = load_calls(OPTIONS.model)
        return self._calls


def load_calls(model: str) -> ModalCalls:
    """Load `model`, or its packed file in the volume. Settings come from the environment."""
    from modal.experimental import stop_fetching_inputs

    from handlers.modal_calls import ModalCalls
    from musicgen.predictor import Predictor
    from musicgen.process import startup
    from musicgen.process.logs import start_logging
    from musicgen.settings import Settings

    settings = Settings.from_env(os.environ, default_model=choose_model(model))
    start_logging(settings.log_level, as_json=settings.logs_json)
    predictor = Predictor.load(settings, answers_clips=True)
    predictor.warm_up()
    startup.ready()
    return ModalCalls(predictor, settings, replace_container=stop_fetching_inputs)


@app.function(volumes={str(WEIGHTS): volume}, secrets=secrets, timeout=3600, memory=16_384)
def fill_volume(model: str = OPTIONS.model, form: str = "") -> str:
    """Pack a model into the volume, for the app's GPU or processor, and return its licence."""
    from handlers.cli.main import main as run_musicgen
    from musicgen import catalog
    from musicgen.checkpoints.local import find_licence
    from musicgen.settings import Settings

    form = form or ("plain-bfloat16" if OPTIONS.gpu else "native-int8")
    target = WEIGHTS / name_packed(model)
    target.parent.mkdir(parents=True, exist_ok=True)
    status = run_musicgen(["pack", model, "--form", form, "-o", str(target)])
    if status:
        raise RuntimeError(f"musicgen pack {model} ended with status {status}")
    if not modal.is_local():
        volume.commit()
    return catalog.describe_licence(find_licence(Settings(model=model), asks_hub=True))
