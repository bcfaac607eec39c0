"""Prometheus metrics at ``/metrics``. docs/gateway.md lists the names."""

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
        request_seconds: from the first byte of a request to the last of its response, by route.
        texts: classified texts by version and role.
        model_calls: calls to the model server by version and status code.
        model_seconds: duration of these calls, by version.
        breaker_open: 1 while a version's circuit breaker is not closed.
        records: predictions written to the database, and dropped ones.
        records_waiting: predictions not yet written.
        shadow: mirrored calls: mirrored, failed, dropped.
        feedback: feedback items: created, repeated, unknown_label.
        rate_limited: requests over the rate limit.
    """

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"bert_gateway_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, *labels: str) -> Histogram:
            full = f"bert_gateway_{name}"
            return Histogram(full, text, labels, registry=registry, buckets=_SECONDS)

        self.requests = counter("requests", "HTTP requests.", "route", "status")
        self.request_seconds = histogram("request_seconds", "Duration of requests.", "route")
        self.texts = counter("texts", "Classified texts.", "model_version", "role")
        self.model_calls = counter(
            "model_calls", "Calls to the model server.", "model_version", "code"
        )
        self.model_seconds = histogram(
            "model_call_seconds", "Duration of calls to the model server.", "model_version"
        )
        self.breaker_open = Gauge(
            "bert_gateway_breaker_open",
            "1 while the circuit breaker of a version is not closed.",
            ["model_version"],
            registry=registry,
        )
        self.records = counter("records", "Predictions written or dropped.", "outcome")
        self.records_waiting = Gauge(
            "bert_gateway_records_waiting", "Predictions not yet written.", registry=registry
        )
        self.shadow = counter("shadow", "Calls mirrored to a candidate.", "outcome")
        self.feedback = counter("feedback", "Feedback items.", "outcome")
        self.rate_limited = counter("rate_limited", "Requests over the rate limit.")

    def page(self) -> bytes:
        """Return the metrics in Prometheus text format."""
        return generate_latest(self._registry)
