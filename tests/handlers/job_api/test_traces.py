"""The trace of a call goes through the queue: what the caller began, the worker goes on with."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from musicgen.process.logs import trace_id_of
from tests.support import ROOT
from tests.support.job_server import JobServer, data_folder, job_server
from tests.support.otlp_collector import Collector, otlp_collector

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture(scope="module")
def traced() -> Iterator[tuple[JobServer, Collector]]:
    """A server that has made one job, refused a call and been stopped: all spans are there."""
    with otlp_collector() as collector, data_folder() as folder:
        settings = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_BSP_SCHEDULE_DELAY": 200,
        }
        with job_server(folder, **settings) as server:
            made = server.http.post(
                "/generate",
                json={"prompt": "piano", "duration": 0.5},
                headers={"traceparent": f"00-{TRACE}-{CALLER}-01"},
            )
            assert server.ended(made.json()["job_id"])["status"] == "completed"
            assert server.ended(server.submit())["status"] == "completed"
            assert server.http.post("/generate", json={"prompt": ""}).status_code == 422
        yield server, collector


def test_a_job_s_spans_hang_together(traced: tuple[JobServer, Collector]) -> None:
    _, collector = traced
    spans = {span.name: span for span in collector.spans if span.trace_id == TRACE}
    assert set(spans) == {"POST /generate", "musicgen.queue", "musicgen.job", "musicgen.generate"}
    call, queued, job, generated = (
        spans[name]
        for name in ("POST /generate", "musicgen.queue", "musicgen.job", "musicgen.generate")
    )
    assert call.parent_id == CALLER
    assert queued.parent_id == job.parent_id == call.span_id
    assert generated.parent_id == job.span_id
    assert (call.service, job.service) == ("musicgen-api", "musicgen-worker")
    assert call.start <= queued.start <= queued.end <= job.start + 0.1
    assert job.start <= generated.start <= generated.end <= job.end
    assert len({span.attributes["musicgen.job_id"] for span in (call, queued, job)}) == 1
    assert job.attributes["musicgen.outcome"] == "completed"
    assert job.attributes["musicgen.audio_seconds"] == 0.5
    assert 0 < job.attributes["musicgen.first_audio_seconds"] < job.end - job.start
    assert not any(span.failed for span in spans.values())


def test_a_call_without_a_trace_begins_one(traced: tuple[JobServer, Collector]) -> None:
    _, collector = traced
    [own] = [s for s in collector.of("musicgen.job") if s.trace_id != TRACE]
    [call] = [s for s in collector.of("POST /generate") if s.trace_id == own.trace_id]
    assert not call.parent_id and own.parent_id == call.span_id


def test_a_caller_s_mistake_is_no_failure_of_ours(traced: tuple[JobServer, Collector]) -> None:
    _, collector = traced
    [refused] = [s for s in collector.spans if "error.type" in s.attributes]
    assert (refused.name, refused.attributes["error.type"]) == ("POST /generate", "EmptyPrompt")
    assert not refused.failed


@pytest.mark.parametrize(
    "header",
    [
        *(None, "", "x", f"00-{TRACE}-{CALLER}", f"00-{TRACE.upper()}-{CALLER}-01"),
        *(f"00-{TRACE[1:]}-{CALLER}-01", f"00-{TRACE}-{CALLER}-01\n", f"00-{TRACE}-{CALLER}-01-x"),
    ],
)
def test_what_is_no_traceparent_names_no_trace(header: str | None) -> None:
    assert trace_id_of(header) is None


def test_a_collector_that_is_away_delays_nobody() -> None:
    # The exporter tries again for that many seconds before its process ends.
    nobody = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_EXPORTER_OTLP_TIMEOUT": 1}
    with data_folder() as folder, job_server(folder, **nobody) as server:
        assert server.ended(server.submit())["status"] == "completed"


def test_without_a_collector_nothing_of_it_is_imported() -> None:
    code = (
        "import sys; from musicgen.process import tracing as t; t.start_tracing('x')\n"
        "with t.span('a'): t.note(b=1); t.past_span('c', 1.0); assert t.traceparent() is None\n"
        "assert not [name for name in sys.modules if 'opentelemetry' in name]"
    )
    root = ROOT
    env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(root)}
    subprocess.run([sys.executable, "-c", code], check=True, env=env, timeout=60)
