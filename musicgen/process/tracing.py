"""Traces by OpenTelemetry, sent where the standard variable `OTEL_EXPORTER_OTLP_ENDPOINT` says.

Without that variable nothing of OpenTelemetry is imported and every function here does nothing.
All else that the SDK can be told, it is told by its own variables: `OTEL_TRACES_SAMPLER`,
`OTEL_RESOURCE_ATTRIBUTES`, `OTEL_EXPORTER_OTLP_HEADERS` and so on.

A trace is carried between processes as W3C Trace Context: https://www.w3.org/TR/trace-context/
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from musicgen.errors import MissingDependency
from musicgen.process.logs import trace_id_of
from musicgen.settings.job_api import TracingSettings

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Tracer

Kind = Literal["server", "producer", "consumer", "internal"]

_tracer: Tracer | None = None


def start_tracing(service: str) -> None:
    """Sends traces from here on, as `service` where `OTEL_SERVICE_NAME` names no other.

    Raises: `MissingDependency`.
    """
    global _tracer
    settings = TracingSettings.from_env()
    if not settings.wanted:
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise MissingDependency(str(error.name), "traces", "telemetry") from None
    named = {"service.name": settings.service or service}
    provider = TracerProvider(resource=Resource.create(named))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    _tracer = provider.get_tracer("musicgen")


@contextmanager
def span(
    name: str,
    parent: str | None = None,
    kind: Kind = "internal",
    expected: tuple[type[BaseException], ...] = (),
    **attributes: Any,
) -> Iterator[None]:
    """Around some work. `parent`: a traceparent from another process; without it the span is part
    of the one that it is within. An error that leaves it marks it as failed, unless it is one of
    the `expected`, which are a caller's own."""
    if _tracer is None:
        yield
        return
    from opentelemetry.trace import SpanKind, StatusCode

    with _tracer.start_as_current_span(
        name,
        context=_context(parent),
        kind=SpanKind[kind.upper()],
        attributes=_prefix_names(attributes),
        record_exception=False,
        set_status_on_exception=False,
    ) as made:
        try:
            yield
        except BaseException as error:
            made.set_attribute("error.type", type(error).__name__)
            if not isinstance(error, expected):
                made.record_exception(error)
                made.set_status(StatusCode.ERROR, str(error))
            raise


def past_span(name: str, seconds: float, parent: str | None = None, **attributes: Any) -> None:
    """A span of the `seconds` that end now."""
    if _tracer is None:
        return
    end = time.time_ns()
    made = _tracer.start_span(
        name,
        context=_context(parent),
        start_time=end - int(seconds * 1e9),
        attributes=_prefix_names(attributes),
    )
    made.end(end)


def note(**attributes: Any) -> None:
    """Attributes of the span that this is within; None is left out."""
    if _tracer is None:
        return
    from opentelemetry.trace import get_current_span

    get_current_span().set_attributes(_prefix_names(attributes))


def traceparent() -> str | None:
    """Of the span that this is within, for another process to go on with."""
    if _tracer is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent")


def _context(parent: str | None) -> Context | None:
    if trace_id_of(parent) is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({"traceparent": str(parent)})


def _prefix_names(attributes: dict[str, Any]) -> dict[str, Any]:
    """Named `musicgen.…`, as nobody else's are."""
    return {f"musicgen.{name}": value for name, value in attributes.items() if value is not None}
