"""The predictor: the only place that joins engine, audio and storage.

    predictor = Predictor.load(Settings.from_env())
    result = predictor.generate(GenerationRequest(prompt="slow calm piano", duration=5))

Every platform wraps exactly this.
"""

from __future__ import annotations

import logging
import math
import secrets
import uuid
from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import Any

import torch

from musicgen import __version__, catalog
from musicgen.audio.encode import largest_size
from musicgen.audio.postprocess import finish_clip
from musicgen.audio.tags import AudioTags
from musicgen.checkpoints.address import is_to_be_fetched
from musicgen.checkpoints.locate import Source, locate
from musicgen.engine.interface import Engine, GenerationJob, Row
from musicgen.engine.loading import load_engine
from musicgen.errors import InvalidRequest, UnknownModel
from musicgen.generation import Generation
from musicgen.model.config import MusicGenConfig
from musicgen.predictor.notes import notes_for
from musicgen.predictor.prepare import BETWEEN_PROMPTS, PreparedJob, check_tokens, prepare
from musicgen.predictor.separation import Separation
from musicgen.predictor.store import store_clips, with_tokens
from musicgen.predictor.stream import ClipStream, told
from musicgen.process import startup
from musicgen.process.resources import cpu_quota
from musicgen.process.stopwatch import Stopwatch
from musicgen.request import GenerationRequest, SamplingParams, StreamForm
from musicgen.request.limits import SEED_MAX
from musicgen.result import GenerationResult, Progress
from musicgen.settings import Delivery, Settings
from musicgen.storage.base import JOB_ID, JOB_ID_ALLOWED, Storage
from musicgen.storage.factory import open_bucket, open_storage
from musicgen.storage.inline import INLINE_MAX_BYTES, InlineStorage

GENERATOR = f"musicgen-serverless {__version__}"
WARM_UP_SECONDS = 0.04

logger = logging.getLogger(__name__)


class Predictor:
    """Holds one loaded model; `generate` may be called from several threads."""

    def __init__(
        self,
        engine: Engine,
        source: Source,
        settings: Settings,
        storage: Storage,
        separation: Separation | None = None,
    ) -> None:
        self._engine = engine
        self._source = source
        self._settings = settings
        self._storage = storage
        self._separation = separation or Separation(settings.separation, engine.device)

    @classmethod
    def load(cls, settings: Settings, storage: Storage | None = None) -> Predictor:
        """Finds, checks and loads the model that `settings` name.

        Raises: `UnknownModel`, `ModelTooLarge`, `MissingDependency`, a `CheckpointError`.
        """
        startup.mark("torch_imported")
        torch.set_num_threads(settings.threads or cpu_quota())
        source = _obtain(settings)
        startup.mark("weights_found")
        watch = Stopwatch()
        engine = load_engine(
            source.folder, source.name, settings, source.adapter, on_phase=startup.mark
        )
        logger.info(
            "loaded %s (licence %s) on %s in %s with engine %s in %.1f s",
            source.name,
            source.licence,
            engine.device,
            engine.precision,
            engine.name,
            watch.lap(),
        )
        startup.mark("model_loaded")
        return cls(engine, source, settings, storage or open_storage(settings))

    @property
    def model(self) -> str:
        """What the loaded model is called: its catalog name, folder or hub name."""
        return self._source.name

    @property
    def label(self) -> str:
        """The name as callers may see it."""
        return self._source.label

    @property
    def licence(self) -> str:
        return self._source.licence

    @property
    def engine(self) -> Engine:
        return self._engine

    @property
    def slots(self) -> int:
        """How many requests may be decoded at once."""
        return self._settings.slots

    def generate(self, request: GenerationRequest, job_id: str | None = None) -> GenerationResult:
        """Runs a request to its end.

        Raises: `InvalidRequest` for what this model cannot do, `GenerationError`, `StorageError`.
        """
        return self.start(request, job_id).result()

    def start(
        self,
        request: GenerationRequest,
        job_id: str | None = None,
        *,
        stream: StreamForm | None = None,
        delivery: Delivery | None = None,
    ) -> Generation:
        """A request to be pulled step by step; raises, while pulled, what `generate` raises.

        With `stream` the progress carries sound, in a format of `musicgen.audio.live_encoder`; the
        whole clip, normalized, is stored at the end. `delivery` None is the storage given when the
        predictor was loaded.

        Raises: `InvalidRequest` at once for a `job_id` that cannot be part of a file's name.
        """
        job_id = job_id or uuid.uuid4().hex
        if not JOB_ID.fullmatch(job_id):
            raise InvalidRequest("job_id", job_id, JOB_ID_ALLOWED)
        storage = self._storage if delivery is None else self._open(delivery)
        return Generation(job_id, self._run(request, job_id, storage, stream))

    def warm_up(self) -> None:
        """One short clip that is thrown away, so that the first caller does not pay for it."""
        frames = math.ceil(WARM_UP_SECONDS * self._engine.config.frame_rate)
        row = Row("warm up", 0, SamplingParams(temperature=0.0, top_k=1))
        for _ in self._engine.generate(GenerationJob((row,), frames)):
            pass
        startup.mark("warmed_up")

    @property
    def models_kept(self) -> int:
        """How many models may be loaded at once, this one included."""
        return self._settings.models_kept

    def other(self, name: str) -> Predictor:
        """A predictor of another model, which keeps its clips where this one does. This one may be
        closed by then. Raises: what `load` raises.
        """
        settings = replace(self._settings, model=name)
        is_first = name == self._settings.model
        source = _obtain(settings) if is_first else locate(name, base=settings.base_model)
        engine = load_engine(
            source.folder, source.name, settings, source.adapter, on_phase=startup.mark
        )
        logger.info("loaded %s (licence %s)", source.name, source.licence)
        return Predictor(engine, source, settings, self._storage, self._separation)

    def close(self) -> None:
        """Frees the weights."""
        self._engine.close()

    def _run(
        self,
        request: GenerationRequest,
        job_id: str,
        storage: Storage,
        stream: StreamForm | None,
    ) -> Generator[Progress, None, GenerationResult]:
        self._check_model(request)
        engine, source = self._engine, self._source
        config, watch = engine.config, Stopwatch()
        audio_format = request.audio_format.with_rate(config.sample_rate)
        samples = round(request.seconds * audio_format.rate)
        size = largest_size(samples, config.channels, audio_format)
        storage.prepare(size * len(request.texts))
        seed = secrets.randbelow(SEED_MAX + 1) if request.seed is None else request.seed
        mark = engine.codec_mark if request.continuation or request.save_tokens else None
        prepared = prepare(request, seed, config, self._separation.tune_of, mark)
        check_tokens(request, prepared, mark)
        job = replace(prepared.job, stream=stream is not None)
        tags = [
            AudioTags(text, row.seed, source.label, source.licence, GENERATOR)
            for text, row in zip(prepared.texts, job.rows, strict=True)
        ]
        streams = [] if stream is None else _streams(request, stream, prepared, config, tags)
        preparing = watch.lap()
        output = yield from told(engine.generate(job), streams)
        timings = replace(output.seconds, audio_prompt=output.seconds.audio_prompt + preparing)
        watch.lap()
        sound = [prepared.joined(pcm, config.sample_rate) for pcm in output.pcm]
        finished = [finish_clip(p, config.sample_rate, request) for p in sound]
        if request.save_tokens:
            tags = with_tokens(tags, output.codes, mark or "", finished, audio_format)
        timings.finish = watch.lap()
        beside = None if isinstance(storage, InlineStorage) else self._made_with()
        stored = store_clips(storage, job_id, request, audio_format, finished, tags, beside)
        timings.store = watch.lap()
        return GenerationResult(
            job_id=job_id,
            clips=stored.clips,
            manifest=stored.manifest,
            prompt=BETWEEN_PROMPTS.join(dict.fromkeys(prepared.texts)),
            seed=seed,
            seconds=samples / audio_format.rate,
            model=source.label,
            licence=source.licence,
            engine=engine.name,
            device=engine.device,
            precision=engine.precision,
            steps=output.steps,
            timings=timings,
            notes=prepared.notes
            + notes_for(request, source, finished, streamed=stream is not None),
            start=startup.first_audio(),
        )

    def _made_with(self) -> dict[str, Any] | None:
        """What a manifest says of this predictor; None where none is wanted."""
        if not self._settings.manifest:
            return None
        source, engine = self._source, self._engine
        return {
            "model": source.label,
            "revision": source.revision,
            "licence": source.licence,
            "engine": engine.name,
            "device": engine.device,
            "precision": engine.precision,
            "versions": {"musicgen": __version__, "torch": torch.__version__},
        }

    def _open(self, delivery: Delivery) -> Storage:
        if delivery.bucket is None:
            return InlineStorage(INLINE_MAX_BYTES)
        return open_bucket(delivery.bucket, self._settings.spool_dir)

    def _check_model(self, request: GenerationRequest) -> None:
        asked = request.model_version
        if asked is None or asked in (self.model, self.label):
            return
        entry = catalog.find(asked)
        if entry is None or entry.name != self.model:
            raise UnknownModel.for_choice("model_version", asked, [self._source.label])


def _obtain(settings: Settings) -> Source:
    """Raises: what `locate` and `fetch` raise."""
    name = settings.model
    if is_to_be_fetched(name):
        from musicgen.checkpoints.download import fetch

        name = str(fetch(name, settings))
    return locate(name, settings.revision, settings.base_model)


def _streams(
    request: GenerationRequest,
    form: StreamForm,
    prepared: PreparedJob,
    config: MusicGenConfig,
    tags: Sequence[AudioTags],
) -> list[ClipStream]:
    """One for each clip. Raises: `UnknownFormat`."""
    rate = config.sample_rate
    # A stream keeps the model's own rate and the container's default bitrate.
    audio_format = replace(request.audio_format, sample_rate=rate, bitrate=None)
    samples = round(request.seconds * rate)
    return [
        ClipStream(form, audio_format, config.channels, samples, tag, prepared.joint(rate))
        for tag in tags
    ]
