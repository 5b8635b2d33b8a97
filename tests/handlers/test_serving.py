"""One predictor and many callers: whose model is loaded, and what becomes of those who leave."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from functools import partial

import pytest

from handlers.input_audio import LIMITS
from handlers.serving import Serving
from musicgen import errors
from musicgen.generation import Generation
from musicgen.predictor import Predictor
from musicgen.request import GenerationRequest, StreamForm
from musicgen.result import Progress
from musicgen.settings import Delivery, Settings
from tests.support.counting_predictor import CountingPredictor
from tests.support.silent_server import SilentServer

INLINE = Delivery(None)
DEADLINE = 60.0


class _Switching(CountingPredictor):
    """The demo under any name of the catalog: the tests ask when it is switched, not to what."""

    def __init__(self, predictor: Predictor) -> None:
        super().__init__(predictor)
        self.slots = 4
        self.log: list[str] = []

    def start(
        self,
        request: GenerationRequest,
        job_id: str | None = None,
        *,
        stream: StreamForm | None = None,
        delivery: Delivery | None = None,
    ) -> Generation:
        self.log.append(f"start on {self.model}")
        plain = replace(request, model_version=None)
        return super().start(plain, job_id, stream=stream, delivery=delivery)

    def other(self, name: str) -> _Switching:
        if name == "large":
            raise errors.CheckpointCorrupt("large is cut off")
        self.log.append(f"switch to {name}")
        self.model = name
        return self


@pytest.fixture(scope="module")
def demo() -> Predictor:
    return Predictor.load(Settings(threads=1))


@pytest.fixture
def predictor(demo: Predictor) -> _Switching:
    return _Switching(demo)


@pytest.fixture
def serving(predictor: _Switching) -> Serving:
    return Serving(predictor)


def _payload(duration: float = 0.2, **fields: object) -> dict[str, object]:
    return {"prompt": "x", "duration": duration, "seed": 1} | fields


def _request(duration: float = 0.2, **fields: object) -> GenerationRequest:
    return GenerationRequest.from_mapping(_payload(duration, **fields))


def _set_event() -> threading.Event:
    event = threading.Event()
    event.set()
    return event


def _eventually(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_who_names_no_model_gets_the_first_one(serving: Serving, predictor: _Switching) -> None:
    for model in (None, "small", None, "facebook/musicgen-small", "demo"):
        serving.run(_request(model_version=model), delivery=INLINE)
    assert predictor.log == [
        "start on demo",
        "switch to small",
        "start on small",
        "switch to demo",
        "start on demo",
        "switch to small",
        "start on small",
        "switch to demo",
        "start on demo",
    ]


@pytest.mark.parametrize("name", ["/etc", "../../secret", "someone/else", "demo2", ""])
def test_only_models_of_the_catalog_can_be_named(serving: Serving, name: str) -> None:
    """A folder or a hub name would let a caller read or download whatever they like."""
    with pytest.raises(errors.UnknownModel, match="stereo-melody-large"):
        serving.run(_request(model_version=name), delivery=INLINE)


def test_a_switch_waits_for_what_runs_and_is_not_overtaken(
    serving: Serving, predictor: _Switching
) -> None:
    others = []
    with serving.start(_request(20.0), delivery=INLINE) as first:
        next(first)
        for model in ("small", "demo"):
            request = _request(model_version=model)
            others.append(threading.Thread(target=partial(serving.run, request, delivery=INLINE)))
            others[-1].start()
            # The first of them stands in line before the second one comes.
            _eventually(lambda: len(serving._pool._line) == len(others))
        next(first)
        assert predictor.log == ["start on demo"]
    for thread in others:
        thread.join(DEADLINE)
    assert predictor.log[1:] == [
        "switch to small",
        "start on small",
        "switch to demo",
        "start on demo",
    ]


def test_the_name_of_a_packed_model_is_the_model_that_is_loaded(demo: Predictor) -> None:
    """Callers say "small"; the file that it was packed into is the operator's affair."""
    known = _Switching(demo)
    known.model, known.label = "/weights/small.native-int8.packed", "small"
    serving = Serving(known)
    for asked in (None, "small"):
        serving.run(GenerationRequest(prompt="piano", duration=0.2, model_version=asked))
    assert [line.split()[0] for line in known.log] == ["start", "start"]


def test_a_failed_switch_lets_the_next_one_in(serving: Serving) -> None:
    with pytest.raises(errors.CheckpointCorrupt):
        serving.run(_request(model_version="large"), delivery=INLINE)
    assert serving.run(_request(), delivery=INLINE).clips


def test_who_gives_up_while_waiting_never_starts(serving: Serving, predictor: _Switching) -> None:
    with (
        serving.start(_request(20.0), delivery=INLINE),
        pytest.raises(errors.GenerationCancelled),
        serving.start(_request(model_version="small"), cancelled=_set_event()),
    ):
        pass
    assert predictor.log == ["start on demo"]


def test_the_audio_is_checked_before_the_fields_and_these_before_the_model(
    serving: Serving, predictor: _Switching
) -> None:
    """Every platform tells of the same error first."""
    payload = _payload(-1.0, input_audio="/etc/hostname", model_version="someone/else")
    for error, correction in (
        (errors.InvalidInputAudio, {"input_audio": None}),
        (errors.InvalidDuration, {"duration": 0.2}),
        (errors.UnknownModel, {"model_version": None}),
    ):
        with pytest.raises(error), serving.open_generation(payload, delivery=INLINE):
            pass
        payload |= correction
    with serving.open_generation(payload, "job-1", delivery=INLINE) as generation:
        assert generation.result().job_id == "job-1"
    assert predictor.log == ["start on demo"] and predictor.running == 0


def test_followed_progress_grows_to_the_end_and_the_loop_runs_meanwhile(serving: Serving) -> None:
    async def main() -> tuple[list[Progress], int]:
        turns = 0

        async def tick() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        ticking = asyncio.create_task(tick())
        async with serving.follow(_payload(2.0), delivery=INLINE) as run:
            seen = [progress async for progress in run]
            result = await run.result()
        ticking.cancel()
        assert result.clips[0].samples == 64_000
        return seen, turns

    seen, turns = asyncio.run(main())
    fractions = [progress.fraction for progress in seen]
    assert fractions == sorted(fractions) and fractions[-1] == 1
    assert turns > 100


def test_a_followed_stream_loses_no_piece_though_its_reader_is_slow(serving: Serving) -> None:
    payload = _payload(4.0, normalization_strategy="clip")

    async def main() -> tuple[bytes, int]:
        data = b""
        async with serving.follow(payload, stream="joined", delivery=INLINE) as run:
            async for progress in run:
                if progress.audio:
                    data += progress.audio[0]
                    await asyncio.sleep(0.01)
            return data, (await run.result()).clips[0].samples

    data, samples = asyncio.run(main())
    assert len(data) - data.index(b"data") - 8 == 2 * samples


def test_a_slow_reader_holds_its_own_decode_back(serving: Serving) -> None:
    """Otherwise a stream that nobody reads would fill the memory."""

    async def main() -> tuple[int, int]:
        async with serving.follow(_payload(30.0), stream="joined", delivery=INLINE) as run:
            first = await _first_with_audio(run)
            await asyncio.sleep(0.5)
            waiting = len(run._queue)
            return first.done, waiting

    _, waiting = asyncio.run(main())
    assert waiting <= 6


async def _first_with_audio(run: AsyncIterator[Progress]) -> Progress:
    async for progress in run:
        if progress.audio:
            return progress
    raise AssertionError("no sound came")


@pytest.mark.parametrize("stream", [None, "joined"])
def test_cancelling_stops_the_decode_before_it_returns(
    serving: Serving, predictor: _Switching, stream: StreamForm | None
) -> None:
    """Whoever comes next finds the slot free, and the model may be switched."""

    async def main() -> None:
        async def job() -> None:
            async with serving.follow(_payload(30.0), stream=stream, delivery=INLINE) as run:
                started.set()
                async for _ in run:
                    pass

        started = asyncio.Event()
        task = asyncio.create_task(job())
        await started.wait()
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert predictor.running == 0
        # Refused at once if the model were still in use.
        switch = _request(model_version="small")
        with serving.start(switch, delivery=INLINE, cancelled=_set_event()):
            assert predictor.log[-1] == "start on small"

    asyncio.run(main())


def test_cancelling_closes_the_download_of_the_input_audio(demo: Predictor) -> None:
    """It ran on for a minute, and its job held a slot of the platform meanwhile."""
    silent = SilentServer()
    serving = Serving(demo, ("127.0.0.0/8",))

    async def main() -> None:
        async def job() -> None:
            async with serving.follow(_payload(input_audio=silent.url), delivery=INLINE) as run:
                await run.result()

        task = asyncio.create_task(job())
        assert await asyncio.to_thread(silent.wait_for, opened=1)
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=LIMITS.seconds / 2)
        assert done and task.cancelled()

    asyncio.run(main())
    assert silent.wait_for(closed=1)


def test_an_error_of_the_decode_reaches_whoever_waits_for_the_end(serving: Serving) -> None:
    async def main() -> None:
        async with serving.follow(_payload(top_k=2000), delivery=INLINE) as run:
            assert [progress async for progress in run] == []
            with pytest.raises(errors.InvalidTopK):
                await run.result()

    asyncio.run(main())
