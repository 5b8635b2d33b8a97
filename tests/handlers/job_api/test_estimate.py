"""Estimates of time and price before a job is submitted."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from handlers.job_api.store.paces import ASSUMED
from musicgen.midi import packages
from tests.support.job_server import JobServer, data_folder, job_server


@pytest.fixture(scope="module")
def priced() -> Iterator[JobServer]:
    with (
        data_folder() as folder,
        job_server(
            folder,
            MUSICGEN_SLOTS=1,
            MUSICGEN_PRICE_PER_MINUTE="0.30",
            MUSICGEN_CURRENCY="EUR",
            # A folder is never looked for on the hub, without which these parts would be refused.
            MUSICGEN_DIFFUSION=str(folder / "diffusion"),
        ) as server,
    ):
        yield server


def test_an_estimate_grows_with_the_audio_and_has_the_price(priced: JobServer) -> None:
    answer = priced.http.get("/v1/estimate", params={"duration": 20, "variations": 3}).json()
    assert answer["audio_seconds"] == 60
    assert answer["price"] == {"amount": 0.3, "currency": "EUR"}
    assert answer["wait_seconds"] == 0
    # The guess of a server that has made nothing yet is told as one.
    assert answer["is_measured"] is False
    single = priced.http.get("/v1/estimate", params={"duration": 20}).json()
    assert single["work_seconds"] * 3 == pytest.approx(answer["work_seconds"], abs=0.3)


def test_an_estimate_knows_the_jobs_before(priced: JobServer) -> None:
    jobs = [priced.submit(duration=300, seed=number) for number in range(3)]
    wait = 0.0
    for _ in range(100):
        wait = priced.http.get("/v1/estimate").json()["wait_seconds"]
        if wait > 0:
            break
        time.sleep(0.1)
    assert wait > 0
    for job in jobs:
        priced.http.delete(f"/v1/jobs/{job}")


@pytest.mark.skipif(packages.find_missing() is not None, reason="no model of basic-pitch")
def test_parts_have_a_time_of_their_own_and_it_is_learned(priced: JobServer) -> None:
    """Of the worker's own figures: what a job has taken is what the next one is estimated at."""
    assert priced.ended(priced.submit(duration=2))["status"] == "completed"

    known: set[str] = set()

    def estimate(**fields: object) -> float:
        time.sleep(1.1)  # the load is looked up once a second
        answer = priced.http.get("/v1/estimate", params={"duration": 300, **fields})
        assert answer.status_code == 200, answer.text
        assert answer.json()["is_measured"] is (not {*fields} - known)
        return float(answer.json()["work_seconds"])

    plain, assumed = estimate(), estimate(midi=True)
    assert assumed == pytest.approx(plain * (1 + ASSUMED["midi"]), rel=0.05)
    assert estimate(decoder="multi_band_diffusion") > 5 * plain
    done = priced.ended(priced.submit(duration=5, midi=True))
    parts = done["result"]["timings"]["parts"] * 300 / 5
    assert parts > 0
    known.add("midi")
    assert estimate(midi=True) - estimate() == pytest.approx(parts, abs=0.2)


@pytest.mark.parametrize(
    "params",
    [
        {"duration": 0},
        {"duration": 301},
        {"variations": 9},
        {"duration": "long"},
        {"model_version": "none"},
        {"decoder": "none"},
        {"stems": "perhaps"},
    ],
)
def test_a_request_that_would_be_refused_has_no_estimate(
    priced: JobServer, params: dict[str, object]
) -> None:
    answer = priced.http.get("/v1/estimate", params=params)
    assert answer.status_code == 422
    assert answer.json()["error"]["field"] in params


def test_an_api_without_worker_or_price_says_so() -> None:
    with data_folder() as folder, job_server(folder, "api") as server:
        answer = server.http.get("/v1/estimate").json()
    assert answer["wait_seconds"] is None and answer["price"] is None
