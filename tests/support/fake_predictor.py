"""A predictor that makes text files instead of music, at once or without end."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path

from musicgen.generation import Generation
from musicgen.request import GenerationRequest, StreamForm
from musicgen.result import Clip, GenerationResult, Progress, Timings
from musicgen.settings import Delivery

STEPS = 40


@dataclass
class FakePredictor:
    """Clips lie in `folder` under dated names, as those of the real one do."""

    folder: Path
    model: str = "demo"
    licence: str = "Apache-2.0"
    slots: int = 1
    models_kept: int = 1
    fails: Exception | None = None
    switch_fails: Exception | None = None
    endless: bool = False
    url: str | None = None
    requests: list[GenerationRequest] = field(default_factory=list)
    switches: list[str] = field(default_factory=list)
    begun: threading.Event = field(default_factory=threading.Event)
    given_up: int = 0

    @property
    def label(self) -> str:
        return Path(self.model).name

    def start(
        self,
        request: GenerationRequest,
        job_id: str | None = None,
        *,
        stream: StreamForm | None = None,
        delivery: Delivery | None = None,
    ) -> Generation:
        self.requests.append(request)
        name = f"job-{len(self.requests)}"
        return Generation(name, self._steps(request, name, stream))

    def other(self, name: str) -> FakePredictor:
        """This one again: what was asked of it is in one place."""
        self.switches.append(name)
        if self.switch_fails and name != "demo":
            raise self.switch_fails
        self.model = name
        return self

    def close(self) -> None:
        pass

    def _steps(
        self, request: GenerationRequest, name: str, stream: StreamForm | None
    ) -> Generator[Progress, None, GenerationResult]:
        self.begun.set()
        try:
            while self.endless:
                time.sleep(0.001)
                yield Progress(1, STEPS)
            for done in range(1, STEPS + 1):
                heard = stream is not None and done % 10 == 0
                yield Progress(done, STEPS, (b"%d" % done,) if heard else ())
            if self.fails:
                raise self.fails
        except GeneratorExit:
            self.given_up += 1
            raise
        path = self.folder / "2025-01-31" / name / "clip.wav"
        path.parent.mkdir(parents=True)
        path.write_text(name)
        seed = 7 if request.seed is None else request.seed
        return result_of(self.url or str(path), name, seed, self.model)


def result_of(address: str, job_id: str, seed: int, model: str) -> GenerationResult:
    clip = Clip(
        address=address, prompt="x", seed=seed, seconds=2.0, samples=64000, sample_rate=32000,
        channels=1, format="wav", content_type="audio/wav", bytes=5, sha256="0",
        loudness_lufs=-14.0, peak=0.5, clipped_samples=0,
    )  # fmt: skip
    return GenerationResult(
        job_id=job_id, clips=(clip,), prompt="x", seed=seed, seconds=2.0, model=model,
        licence="Apache-2.0", engine="fake", device="cpu", precision="float32", steps=STEPS,
        timings=Timings(decode=1.0), notes=("a note",),
    )  # fmt: skip
