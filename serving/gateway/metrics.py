"""What Prometheus reads at ``/metrics``. docs/gateway.md lists the names."""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class GatewayMetrics:
    """Counters and histograms of one gateway.

    Attributes:
        requests: by route and HTTP status.
        request_seconds: from the first byte of a request to the last of its answer, by route.
        texts: answered texts by version and role.
        model_calls: calls of the model server by version and status code.
        model_seconds: how long they took, by version.
        breaker_open: 1 while a version is left alone.
        records: predictions written to the database, and those that were dropped.
        records_waiting: predictions not yet written.
        shadow: mirrored calls: mirrored, failed, dropped.
        feedback: votes: created, repeated, unknown_label.
        rate_limited: requests that came too fast.
    """

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"bert_gateway_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, *labels: str) -> Histogram:
            full = f"bert_gateway_{name}"
            return Histogram(full, text, labels, registry=registry, buckets=_SECONDS)

        self.requests = counter("requests", "Requests.", "route", "status")
        self.request_seconds = histogram("request_seconds", "Of a whole request.", "route")
        self.texts = counter("texts", "Answered texts.", "model_version", "role")
        self.model_calls = counter("model_calls", "Of the model server.", "model_version", "code")
        self.model_seconds = histogram("model_call_seconds", "Of such a call.", "model_version")
        self.breaker_open = Gauge(
            "bert_gateway_breaker_open", "Left alone.", ["model_version"], registry=registry
        )
        self.records = counter("records", "Predictions to be stored.", "outcome")
        self.records_waiting = Gauge(
            "bert_gateway_records_waiting", "Not yet stored.", registry=registry
        )
        self.shadow = counter("shadow", "Mirrored calls.", "outcome")
        self.feedback = counter("feedback", "Votes.", "outcome")
        self.rate_limited = counter("rate_limited", "Requests that came too fast.")

    def page(self) -> bytes:
        """Prometheus text."""
        return generate_latest(self._registry)
