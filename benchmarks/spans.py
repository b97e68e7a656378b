"""
What a span costs: ours at 1 % and at 100 % of the items, and OpenTelemetry's SDK doing the same.

An item passes three stages. Ours: the observer is told of each stage as the flow tells it, and builds
and encodes seven spans for each item that is drawn. The SDK: the same seven spans by a tracer with a
batch processor, at 1 % by a ratio sampler. Neither sends anything: the wire is the same for both.

The target is at most 5 us an item at 1 %, on a machine where the least that a span can cost (a dict, two
clocks and an id) takes 0.47 us. Timings of a busy machine mean little, so the target is judged as that ratio.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from statistics import median

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import set_span_in_context

from benchmarks import _verdict
from cableway.flow.observer import FlowStarted, Observer, Outcome
from cableway.items import WorkItem
from cableway.telemetry.otlp import Resource, protobuf_encoder
from cableway.telemetry.propagation import IdPool
from cableway.telemetry.record import SpanRecord
from cableway.telemetry.sampling import threshold_of
from cableway.telemetry.tracing import TraceObserver
from cableway.telemetry.trail import ItemTrail, TrailSpans

ITEMS = 20_000
SDK_ITEMS = 4_000
ROUNDS = 5
STAGES = ("load", "clean", "store")
TRACE, RUN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TARGET_US = 5.0
LIMIT_US = 0.47


class _Nobody(Observer):
    """Hears what the flow tells and does nothing with it: what being told costs."""

    def item_queued(self, item: WorkItem, stage: str, at_ns: int) -> None:
        return

    def item_started(self, item: WorkItem, stage: str, at_ns: int) -> None:
        return

    def item_finished(self, item: WorkItem, stage: str, at_ns: int) -> None:
        return

    def item_ended(self, item: WorkItem, outcome: Outcome, at_ns: int) -> None:
        return


def tell(observer: Observer, items: Sequence[WorkItem]) -> None:
    now = time.monotonic_ns
    for item in items:
        for stage in STAGES:
            observer.item_queued(item, stage, now())
            observer.item_started(item, stage, now())
            observer.item_finished(item, stage, now())
        observer.item_ended(item, Outcome.SUCCEEDED, now())


def told_to_nobody() -> float:
    observer = _Nobody()
    items = [WorkItem(number) for number in range(ITEMS)]
    return timed(lambda: tell(observer, items)) / ITEMS


def limit() -> float:
    """Seconds for the least that a span can be: a dict, two clocks and an id."""
    now, pool = time.time_ns, IdPool()
    kept: list[dict[str, object]] = []

    def work() -> None:
        for number in range(ITEMS):
            span: dict[str, object] = {"id": pool.span_id(), "start": now(), "item": number}
            span["end"] = now()
            kept.append(span)

    return timed(work) / ITEMS


def ours(ratio: float) -> float:
    """Seconds an item: hearing, choosing, and building and encoding what was chosen."""
    kept: list[ItemTrail | SpanRecord] = []
    spans = TrailSpans(TRACE, RUN)
    observer = TraceObserver(spans, threshold=threshold_of(ratio), offer=kept.append)
    observer.run_started(FlowStarted(pipeline="p", stages=tuple((name, (name,), "async") for name in STAGES), at_ns=0))
    encode = protobuf_encoder(Resource({"service.name": "bench"}), "1")
    items = [WorkItem(number) for number in range(ITEMS)]

    def work() -> None:
        tell(observer, items)
        for at in range(0, len(kept), 300):
            batch: list[SpanRecord] = []
            for trail in kept[at : at + 300]:
                batch += observer.build(trail) if isinstance(trail, ItemTrail) else [trail]
            encode(batch)

    return timed(work) / ITEMS


class _Encoding(SpanExporter):
    """Encodes as the OTLP exporter does, and sends nothing."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

        encode_spans(spans).SerializeToString()
        return SpanExportResult.SUCCESS


def sdk(ratio: float) -> float:
    """Seconds an item for the same spans, with the SDK's flush."""
    provider = TracerProvider(sampler=ParentBased(TraceIdRatioBased(ratio)), shutdown_on_exit=False)
    processor = BatchSpanProcessor(_Encoding(), max_queue_size=SDK_ITEMS * 8)
    provider.add_span_processor(processor)
    tracer = provider.get_tracer("bench")

    def work() -> None:
        for number in range(SDK_ITEMS):
            item = tracer.start_span("item", attributes={"cableway.item.id": str(number)})
            context = set_span_in_context(item)
            for stage in STAGES:
                for kind in ("wait", "work"):
                    about = {"cableway.span.type": kind, "cableway.stage.name": stage}
                    tracer.start_span(f"{kind} {stage}", context, attributes=about).end()
            item.end()
        processor.force_flush()

    took_s = timed(work) / SDK_ITEMS
    provider.shutdown()
    return took_s


def timed(work: Callable[[], None]) -> float:
    gc.collect()
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    timings: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        # In turn, so that a noisy neighbour disturbs all alike.
        for name, measure in (
            ("limit", limit),
            ("nobody", told_to_nobody),
            ("ours_1", lambda: ours(0.01)),
            ("ours_100", lambda: ours(1.0)),
            ("sdk_1", lambda: sdk(0.01)),
            ("sdk_100", lambda: sdk(1.0)),
        ):
            timings.setdefault(name, []).append(measure() * 1e6)
    us = {name: round(median(values), 2) for name, values in timings.items()}
    ours_us = us["ours_1"] - us["nobody"]
    figures = {
        "unit": "us per item of 3 stages (7 spans)",
        **us,
        "ours_1_beyond_being_told": round(ours_us, 2),
        "ratio": round(us["sdk_1"] / us["ours_1"], 1),
        "ratio_100": round(us["sdk_100"] / us["ours_100"], 1),
        "times_the_limit": round(us["ours_1"] / us["limit"], 1),
    }
    most = TARGET_US / LIMIT_US
    _verdict.say("spans", figures, {"times_the_limit": round(most, 1)}, met=us["ours_1"] / us["limit"] <= most)


if __name__ == "__main__":
    main()
