"""OpenTelemetry traces, sent to the address in `OTEL_EXPORTER_OTLP_ENDPOINT`.

Without this standard variable, OpenTelemetry is not imported and every function here does nothing.
The SDK reads its other variables itself: `OTEL_TRACES_SAMPLER`, `OTEL_RESOURCE_ATTRIBUTES`,
`OTEL_EXPORTER_OTLP_HEADERS` and so on.

Processes pass a trace on as W3C Trace Context: https://www.w3.org/TR/trace-context/
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
    """Start sending traces, under the name `service` unless `OTEL_SERVICE_NAME` is set.

    Raises: `MissingDependency`.
    """
    global _tracer
    settings = TracingSettings.from_env()
    if not settings.is_enabled:
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise MissingDependency(str(error.name), "traces", "telemetry") from None
    resource = Resource.create({"service.name": settings.service or service})
    provider = TracerProvider(resource=resource)
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
    """Record a span around some work.

    `parent`: a traceparent from another process; without it, the surrounding span is the parent. An
    error marks the span as failed, unless its type is in `expected`: mistakes of the caller.
    """
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
    ) as current:
        try:
            yield
        except BaseException as error:
            current.set_attribute("error.type", type(error).__name__)
            if not isinstance(error, expected):
                current.record_exception(error)
                current.set_status(StatusCode.ERROR, str(error))
            raise


def past_span(name: str, seconds: float, parent: str | None = None, **attributes: Any) -> None:
    """Record a span of the last `seconds`."""
    if _tracer is None:
        return
    end = time.time_ns()
    past = _tracer.start_span(
        name,
        context=_context(parent),
        start_time=end - int(seconds * 1e9),
        attributes=_prefix_names(attributes),
    )
    past.end(end)


def note(**attributes: Any) -> None:
    """Add attributes to the current span; None is left out."""
    if _tracer is None:
        return
    from opentelemetry.trace import get_current_span

    get_current_span().set_attributes(_prefix_names(attributes))


def traceparent() -> str | None:
    """Return the traceparent of the current span, for another process."""
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
    """Return the attributes under names of our own, `musicgen.NAME`, without None."""
    return {f"musicgen.{name}": value for name, value in attributes.items() if value is not None}
