"""Traces and metrics, off until KEPT_OTLP_ENDPOINT is set. Spans go through gRPC, the log's records and the workers."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, Meter, Observation
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

if TYPE_CHECKING:  # what it stands on is measured itself
    from services.kernel.standing import Standing

tracer = trace.get_tracer("kept")
meter = metrics.get_meter("kept")
_w3c = TraceContextTextMapPropagator()

appended = meter.create_counter("kept.log.appended", unit="{event}", description="Events appended to the log")
batch_size = meter.create_histogram(
    "kept.log.batch", unit="{save}", description="Changes that one commit took together"
)
waiting = meter.create_histogram("kept.log.waiting", unit="{save}", description="Changes that waited behind a commit")
call_duration = meter.create_histogram("kept.rpc.duration", unit="s", description="Time of one RPC in the server")
batch_duration = meter.create_histogram("kept.follower.batch", unit="s", description="Time of one follower's batch")
relay_published = meter.create_counter("kept.relay.published", unit="{event}", description="Events put into the copy")


class FollowerMetrics:
    """Read when they are exported, not when something was done: one that is stuck is seen to fall behind, and so is one that
    another process works for, by everybody who stands by."""

    def __init__(self, meter: Meter) -> None:
        self._read: dict[str, Callable[[], Standing]] = {}
        self._latest: list[Standing] = []
        self._told: set[str] = set()

        def gauge(name: str, unit: str, description: str, value: Callable[["Standing"], float]) -> None:
            meter.create_observable_gauge(name, [partial(self._observe, name, value)], unit, description)

        gauge("kept.follower.position", "{event}", "The last position a follower has read", lambda one: one.position)
        gauge("kept.follower.lag", "{event}", "Events a follower has not read", lambda one: one.lag)
        gauge("kept.follower.lag_time", "s", "Age of the oldest event a follower has not read", lambda one: one.lag_s)
        gauge("kept.follower.parked", "{key}", "Keys that wait for an operator", lambda one: len(one.parked))
        meter.create_observable_gauge("kept.log.position", [self._head], "{event}", "The log's last position")

    def watch(self, follower: str, read: Callable[[], "Standing"]) -> None:
        """From now on `read` tells of it, whenever figures are exported."""
        self._read[follower] = read

    def forget(self, follower: str) -> None:
        self._read.pop(follower, None)

    def _observe(
        self, metric: str, value: Callable[["Standing"], float], _options: CallbackOptions
    ) -> Iterator[Observation]:
        for one in self._all(metric):
            yield Observation(value(one), {"follower": one.name})

    def _head(self, _options: CallbackOptions) -> Iterator[Observation]:
        followed = self._all("kept.log.position")
        if followed:
            yield Observation(max(one.head for one in followed))

    def _all(self, metric: str) -> list["Standing"]:
        """One reading for all metrics of an export; a metric that asks again begins the next one."""
        if metric in self._told or not self._told:
            self._latest = [read() for read in list(self._read.values())]
            self._told.clear()
        self._told.add(metric)
        return self._latest


followers = FollowerMetrics(meter)


def start_telemetry(service: str, endpoint: str | None) -> None:
    """Sets up exporters over OTLP/HTTP; does nothing without an endpoint."""
    if not endpoint:
        return
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    resource = Resource.create({"service.name": f"kept-{service}"})
    traces = TracerProvider(resource=resource)
    traces.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{endpoint}/v1/traces")))
    trace.set_tracer_provider(traces)
    reader = PeriodicExportingMetricReader(OTLPMetricExporter(f"{endpoint}/v1/metrics"))
    metrics.set_meter_provider(MeterProvider(resource=resource, metric_readers=[reader]))


@contextmanager
def span(name: str, context: Context | None = None, kind: trace.SpanKind = trace.SpanKind.INTERNAL) -> Iterator[None]:
    """A span around a block. Of an exception it tells the type alone: the message may hold personal data."""
    if context is None and _is_off():
        yield  # it goes on from nowhere and nobody records it: it would cost every command, and do nothing
        return
    with tracer.start_as_current_span(
        name, context=context, kind=kind, record_exception=False, set_status_on_exception=False
    ) as current:
        try:
            yield
        except Exception as error:
            current.set_status(trace.StatusCode.ERROR, type(error).__name__)
            raise


def _is_off() -> bool:
    return isinstance(tracer, trace.ProxyTracer) and isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


def current_traceparent() -> str:
    """W3C trace context of the current span; empty when tracing is off."""
    if not trace.get_current_span().get_span_context().is_valid:
        return ""
    carrier: dict[str, str] = {}
    _w3c.inject(carrier)
    return carrier.get("traceparent", "")


def context_of(traceparent: str) -> Context | None:
    """The context to go on in; None where there is none."""
    return _w3c.extract({"traceparent": traceparent}) if traceparent else None
