"""Predictor, the only module joining engine, audio and storage.

    predictor = Predictor.load(Settings.from_env())
    result = predictor.generate(GenerationRequest(prompt="slow calm piano", duration=5))

Every platform wraps this class.
"""

from __future__ import annotations

import logging
import secrets
import uuid
from collections.abc import Collection, Generator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from musicgen import __version__, catalog
from musicgen.audio.encode import compute_max_size
from musicgen.checkpoints.locate import Source, locate
from musicgen.checkpoints.obtain import obtain
from musicgen.credentials.opening import open_signer
from musicgen.engine.interface import Engine, GenerationJob, Row
from musicgen.engine.loading import load_engine
from musicgen.errors import InvalidRequest, UnknownModel
from musicgen.generation import Generation
from musicgen.predictor.diffusion import add_licence, choose_diffusion
from musicgen.predictor.finish import finish_output
from musicgen.predictor.manifest import list_versions
from musicgen.predictor.notes import build_notes
from musicgen.predictor.parts import check_parts, find_missing_parts
from musicgen.predictor.prepare import BETWEEN_PROMPTS, check_saved_tokens, prepare
from musicgen.predictor.sealing import prepare_sealing
from musicgen.predictor.separation import MelodySeparator
from musicgen.predictor.store import build_tags, store_clips
from musicgen.predictor.stream import open_streams, report_progress
from musicgen.process import startup
from musicgen.process.resources import cpu_quota
from musicgen.process.stopwatch import Stopwatch
from musicgen.process.threads import use_threads
from musicgen.request import GenerationRequest, SamplingParams, StreamForm
from musicgen.request.limits import SEED_MAX
from musicgen.request.rules import check_bitrate
from musicgen.result import GenerationResult, Progress
from musicgen.settings import Delivery, Settings
from musicgen.storage.base import JOB_ID, JOB_ID_ALLOWED, Storage
from musicgen.storage.factory import open_delivery, open_storage
from musicgen.storage.inline import InlineStorage

if TYPE_CHECKING:
    from musicgen.credentials.signing import ContentSigner

GENERATOR = f"musicgen-serverless {__version__}"
WARM_UP_FRAMES = 1

logger = logging.getLogger(__name__)


class Predictor:
    """Loaded model with its storage; `generate` is safe to call from several threads."""

    def __init__(
        self,
        engine: Engine,
        source: Source,
        settings: Settings,
        storage: Storage,
        separator: MelodySeparator | None = None,
        signer: ContentSigner | None = None,
    ) -> None:
        self._engine = engine
        self.device = str(engine.device)
        self._source = source
        self._settings = settings
        self._storage = storage
        self._signer = signer
        self._separator = separator or MelodySeparator(settings.separation, engine.device)

    @classmethod
    def load(
        cls, settings: Settings, storage: Storage | None = None, *, answers_clips: bool = False
    ) -> Predictor:
        """Find, check and load the model of `settings`.

        `answers_clips`: without a bucket and `storage`, clips are parts of the answers.
        Raises: `UnknownModel`, `ModelTooLarge`, `MissingDependency`, a `CheckpointError`;
        `SettingsError` for a key that cannot sign.
        """
        startup.mark("imported")
        signer = open_signer(settings.credentials)
        use_threads(settings.threads or cpu_quota())
        source = obtain(settings)
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
        storage = storage or open_storage(settings, are_in_answers=answers_clips)
        return cls(engine, source, settings, storage, signer=signer)

    @property
    def model(self) -> str:
        """Name of the loaded model: its catalog name, folder or hub name."""
        return self._source.name

    @property
    def label(self) -> str:
        """Name of the model for callers, without local paths."""
        return self._source.label

    @property
    def licence(self) -> str:
        """Licence of the weights."""
        return self._source.licence

    @property
    def engine(self) -> Engine:
        """Engine holding the model."""
        return self._engine

    @property
    def slots(self) -> int:
        """Number of requests decoded at once."""
        return self._settings.slots

    def generate(self, request: GenerationRequest, job_id: str | None = None) -> GenerationResult:
        """Run a request to its end.

        Raises: `InvalidRequest` for a request the model does not support; `GenerationError`;
        `StorageError`.
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
        """Start a request and return it, to be pulled step by step.

        With `stream` the progress carries audio, in a format of `musicgen.audio.live_encoder`; the
        whole clip, normalized, is stored at the end. `delivery` None is the storage of `load`.

        Raises: `InvalidRequest` at once for a `job_id` unfit for a file name. Pulling raises the
        errors of `generate`.
        """
        job_id = job_id or uuid.uuid4().hex
        if not JOB_ID.fullmatch(job_id):
            raise InvalidRequest("job_id", f"may contain only {JOB_ID_ALLOWED}", value=job_id)
        storage = self._storage if delivery is None else open_delivery(delivery, self._settings)
        return Generation(job_id, self._run(request, job_id, storage, stream))

    def warm_up(self) -> None:
        """Generate and discard a short clip, so the first request is not slower than the next."""
        row = Row("warm up", 0, SamplingParams(temperature=0.0, top_k=1))
        for _ in self._engine.generate(GenerationJob((row,), WARM_UP_FRAMES)):
            pass
        startup.mark("warmed_up")

    @property
    def models_kept(self) -> int:
        """Number of models loaded at once, this one included."""
        return self._settings.models_kept

    def other(self, name: str) -> Predictor:
        """Return a predictor of another model with the same storage.

        This predictor may be closed already. Raises: the errors of `load`.
        """
        settings = replace(self._settings, model=name)
        is_first = name == self._settings.model
        base = settings.base_model, settings.base_revision
        source = obtain(settings) if is_first else locate(name, None, *base)
        engine = load_engine(
            source.folder, source.name, settings, source.adapter, on_phase=startup.mark
        )
        logger.info("loaded %s (licence %s)", source.name, source.licence)
        return Predictor(engine, source, settings, self._storage, self._separator, self._signer)

    def find_missing_parts(self, absent: Collection[str] = ()) -> dict[str, str]:
        """Return the fields that cannot be served here; see `parts.find_missing_parts`."""
        weights, able = self._settings.diffusion, self._engine.has_diffusion
        return find_missing_parts(self._separator, weights, absent, has_diffusion=able)

    def close(self) -> None:
        """Free the weights."""
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
        check_bitrate(audio_format.output_format, audio_format.bitrate, audio_format.rate)
        samples = round(request.seconds * audio_format.rate)
        size = compute_max_size(samples, config.channels, audio_format)
        stems = check_parts(request, self._separator)
        diffusion = choose_diffusion(request, self._settings.diffusion)
        licence = add_licence(source.licence, diffusion)
        origin = source.label, licence
        sealing = prepare_sealing(self._signer, request, *origin, is_streamed=stream is not None)
        storage.prepare((size + sealing.bytes_max) * (1 + stems) * len(request.texts))
        seed = secrets.randbelow(SEED_MAX + 1) if request.seed is None else request.seed
        has_mark = diffusion is None and (request.continuation or request.save_tokens)
        mark = engine.codec_fingerprint if has_mark else None
        prepared = prepare(request, seed, config, self._separator.extract_melody, mark)
        check_saved_tokens(request, prepared, mark)
        job = replace(prepared.job, stream=stream is not None, diffusion=diffusion)
        seeds = [row.seed for row in job.rows]
        tags = build_tags(request, prepared.texts, seeds, *origin, GENERATOR)
        streams = [] if stream is None else open_streams(request, stream, prepared, config, tags)
        preparing = watch.lap()
        output = yield from report_progress(engine.generate(job), streams)
        timings = replace(output.timings, audio_prompt=output.timings.audio_prompt + preparing)
        finished = finish_output(
            output, request, prepared, config.sample_rate, tags, mark, self._separator, timings
        )
        watch.lap()
        provenance = None if isinstance(storage, InlineStorage) else self._build_provenance(licence)
        stored = store_clips(storage, job_id, request, audio_format, finished, sealing, provenance)
        timings.store = watch.lap()
        return GenerationResult(
            job_id=job_id,
            clips=stored.clips,
            manifest=stored.manifest,
            prompt=BETWEEN_PROMPTS.join(dict.fromkeys(prepared.texts)),
            seed=seed,
            seconds=samples / audio_format.rate,
            model=source.label,
            licence=licence,
            engine=engine.name,
            device=engine.device,
            precision=engine.precision,
            steps=output.steps,
            timings=timings,
            notes=prepared.notes
            + build_notes(request, source, finished.clips, streamed=stream is not None)
            + sealing.notes,
            start=startup.first_audio(),
        )

    def _build_provenance(self, licence: str) -> dict[str, Any] | None:
        """Return model, engine and versions for the manifest, or None without a manifest."""
        if not self._settings.manifest:
            return None
        source, engine = self._source, self._engine
        return {
            "model": source.label,
            "revision": source.revision,
            "licence": licence,
            "engine": engine.name,
            "device": engine.device,
            "precision": engine.precision,
            "versions": list_versions(),
        }

    def _check_model(self, request: GenerationRequest) -> None:
        name = request.model_version
        if name is None or name in (self.model, self.label):
            return
        entry = catalog.find(name)
        if entry is None or entry.name != self.model:
            raise UnknownModel.for_choice("model_version", name, [self._source.label])
