"""Stems and notes that no worker can make are refused before a job is queued."""

from __future__ import annotations

import time

from handlers.job_api.store import queue
from handlers.job_api.store.models import join_missing_parts
from tests.support.agents import over_http, run, text
from tests.support.job_server import JobServer, data_folder, job_server

CLIP = {"prompt": "bells", "duration": 0.3}
STEMS = {**CLIP, "stems": True}
ONCE = {"Idempotency-Key": "before the workers came"}


def test_stems_without_separation_are_refused_at_once() -> None:
    with data_folder() as folder:
        with job_server(folder, "api") as server:
            # Without a worker nothing is known to be missing.
            accepted = server.http.post("/v1/generate", json=STEMS, headers=ONCE)
            assert accepted.status_code == 202
            server.http.post(f"/v1/jobs/{accepted.json()['job_id']}/cancel").raise_for_status()
        with job_server(folder, MUSICGEN_SEPARATION="off") as server:
            _check_refusals(server)
            # A job that exists is answered, whatever its workers can make now.
            again = server.http.post("/v1/generate", json=STEMS, headers=ONCE)
            assert again.json()["job_id"] == accepted.json()["job_id"]


def _check_refusals(server: JobServer) -> None:
    deadline = time.monotonic() + 60
    while (refused := server.http.post("/v1/generate", json=STEMS)).status_code == 202:
        server.http.post(f"/v1/jobs/{refused.json()['job_id']}/cancel").raise_for_status()
        assert time.monotonic() < deadline, "the worker's row was never written"
        time.sleep(0.1)
    assert refused.status_code == 422
    error = refused.json()["error"]
    assert (error["code"], error["field"]) == ("part_unavailable", "stems")
    assert "MUSICGEN_SEPARATION is off. Set it to auto or a model of Demucs." in error["message"]
    waiting = server.http.post("/v1/audio/speech", json={"input": "bells", "stems": True})
    assert (waiting.status_code, waiting.json()["error"]["param"]) == (400, "stems")

    async def ask_agent() -> None:
        async with over_http(server.url) as agent:
            asked = {**CLIP, "options": {"stems": True}}
            answer = await agent.call_tool("generate_music", asked)
            assert answer.is_error and "Set it to auto" in text(answer)

    run(ask_agent)
    assert server.ended(server.submit(**CLIP))["status"] == "completed"


def test_one_able_worker_is_enough() -> None:
    def row(makes: str, **missing: str) -> dict[str, object]:
        return {"makes": makes, "missing_parts": missing}

    bare, able = row(queue.LOCAL, stems="a", midi="b"), row(queue.LOCAL, midi="b")
    relay = row(queue.REMOTE)
    assert join_missing_parts([bare, able]) == {"midi": "b"}
    # A relay sends no job with parts elsewhere.
    assert join_missing_parts([bare, relay]) == {"stems": "a", "midi": "b"}
    assert join_missing_parts([relay]) == {} == join_missing_parts([])
