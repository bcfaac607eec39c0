"""Counters and histograms under TensorFlow Serving's names, and the page for Prometheus.

Names begin with a colon (":tensorflow:serving:request_count"), with which TensorFlow's exporter
replaces slashes, so that dashboards made for TensorFlow Serving work unchanged. prometheus_client
would append ``_total`` to counters, so it contributes only the metrics of the process.
"""

import bisect
import threading
from collections.abc import Iterable, Sequence

import prometheus_client

DEFAULT_PATH = "/monitoring/prometheus/metrics"
CONTENT_TYPE = "text/plain"

#: Label value of names that no served model has: callers choose them, so they count together.
OTHER = "other"
#: Beyond this number, label sets are counted together, unnamed.
_MAX_CELLS = 1000
#: Longer label values count as ``OTHER``.
_MAX_VALUE_CHARACTERS = 1024

_PREFIX = ":tensorflow:serving:"


def _exponential(scale: float, growth: float, count: int) -> tuple[float, ...]:
    return tuple(scale * growth**step for step in range(count))


class Counter:
    """A count for each set of label values. Thread-safe.

    Args:
        name: name of the metric, without the prefix.
        labels: names of the labels.
    """

    def __init__(self, name: str, labels: Sequence[str]) -> None:
        self.name = _PREFIX + name
        self.labels = tuple(labels)
        self._cells: dict[tuple[str, ...], int] = {}
        self._lock = threading.Lock()

    def increment(self, *values: str, by: int = 1) -> None:
        """Add ``by`` to the count for a set of label values."""
        values = _bounded(values)
        with self._lock:
            if values not in self._cells and len(self._cells) >= _MAX_CELLS:
                values = ("",) * len(self.labels)
            self._cells[values] = self._cells.get(values, 0) + by

    def value(self, *values: str) -> int:
        """Return the count for a set of label values."""
        return self._cells.get(values, 0)

    def total(self) -> int:
        """Return the count over all label values."""
        with self._lock:
            return sum(self._cells.values())

    def lines(self) -> Iterable[str]:
        """Yield the lines of Prometheus' text format."""
        with self._lock:
            cells = sorted(self._cells.items())
        if cells:
            yield f"# TYPE {self.name} counter"
        for values, count in cells:
            yield f"{self.name}{{{_label_text(self.labels, values)}}} {count}"


class _Distribution:
    __slots__ = ("counts", "sum")

    def __init__(self, size: int) -> None:
        self.counts = [0] * size
        self.sum = 0.0


class Histogram:
    """A distribution for each set of label values. Thread-safe.

    Args:
        name: name of the metric, without the prefix.
        labels: names of the labels.
        limits: upper limits of the buckets; infinity is added.
    """

    def __init__(self, name: str, labels: Sequence[str], limits: Sequence[float]) -> None:
        self.name = _PREFIX + name
        self.labels = tuple(labels)
        self._limits = tuple(limits)
        self._cells: dict[tuple[str, ...], _Distribution] = {}
        self._lock = threading.Lock()

    def observe(self, value: float, *values: str) -> None:
        """Add one observation for a set of label values."""
        values = _bounded(values)
        bucket = bisect.bisect_left(self._limits, value)
        with self._lock:
            cell = self._cells.get(values)
            if cell is None:
                cell = self._new_cell(values)
            cell.counts[bucket] += 1
            cell.sum += value

    def _new_cell(self, values: tuple[str, ...]) -> _Distribution:
        if len(self._cells) >= _MAX_CELLS:
            values = ("",) * len(self.labels)
        return self._cells.setdefault(values, _Distribution(len(self._limits) + 1))

    def count(self, *values: str) -> int:
        """Return the number of observations for a set of label values."""
        cell = self._cells.get(values)
        return sum(cell.counts) if cell else 0

    def lines(self) -> Iterable[str]:
        """Yield the lines of Prometheus' text format: cumulative buckets, sum and count."""
        with self._lock:
            cells = sorted((key, list(c.counts), c.sum) for key, c in self._cells.items())
        if cells:
            yield f"# TYPE {self.name} histogram"
        for values, counts, total in cells:
            labels = _label_text(self.labels, values)
            prefix = f"{self.name}_bucket{{{labels}{',' if labels else ''}le="
            running = 0
            for limit, count in zip((*self._limits, None), counts, strict=True):
                running += count
                yield f'{prefix}"{"+Inf" if limit is None else f"{limit:g}"}"}} {running}'
            yield f"{self.name}_sum{{{labels}}} {total:.15g}"
            yield f"{self.name}_count{{{labels}}} {running}"


def _bounded(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(value if len(value) <= _MAX_VALUE_CHARACTERS else OTHER for value in values)


def _label_text(names: Sequence[str], values: Sequence[str]) -> str:
    return ",".join(
        f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True)
    )


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


_LATENCY = _exponential(10, 1.8, 33)

#: Number of requests by the name of their status code ("OK", "INVALID_ARGUMENT").
REQUEST_COUNT = Counter("request_count", ["model_name", "status"])
#: Duration of successful requests in microseconds; entrypoint is REST or GRPC.
REQUEST_LATENCY = Histogram("request_latency", ["model_name", "API", "entrypoint"], _LATENCY)
#: Microseconds between passing a request to a servable and its outputs.
RUNTIME_LATENCY = Histogram("runtime_latency", ["model_name", "API", "runtime"], _LATENCY)
#: Number of tf.Examples or rows in a request.
REQUEST_EXAMPLE_COUNTS = Histogram("request_example_counts", ["model"], _exponential(1, 2, 15))
REQUEST_EXAMPLE_COUNT_TOTAL = Counter("request_example_count_total", ["model"])
#: Duration of a version's warm-up in microseconds.
MODEL_WARMUP_LATENCY = Histogram("model_warmup_latency", ["model_path", "status"], _LATENCY)
#: Microseconds that a request waited for its batch.
QUEUING_LATENCY = Histogram(
    "batching_session:queuing_latency", ["thread_pool_name"], _exponential(100, 1.2, 52)
)

_METRICS = (
    QUEUING_LATENCY,
    MODEL_WARMUP_LATENCY,
    REQUEST_COUNT,
    REQUEST_EXAMPLE_COUNT_TOTAL,
    REQUEST_EXAMPLE_COUNTS,
    REQUEST_LATENCY,
    RUNTIME_LATENCY,
)

_process = prometheus_client.CollectorRegistry()
prometheus_client.ProcessCollector(registry=_process)


def record_examples(model_name: str, count: int) -> None:
    """Count the examples of one request."""
    REQUEST_EXAMPLE_COUNTS.observe(count, model_name)
    REQUEST_EXAMPLE_COUNT_TOTAL.increment(model_name, by=count)


def page() -> bytes:
    """Return every metric in Prometheus' text format."""
    lines = [line for metric in _METRICS for line in metric.lines()]
    own = "".join(f"{line}\n" for line in lines)
    return own.encode() + prometheus_client.generate_latest(_process)
