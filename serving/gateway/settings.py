"""The gateway's settings."""

import dataclasses
from collections.abc import Callable

from modules.contract.addresses import is_loopback


@dataclasses.dataclass(frozen=True)
class GatewaySettings:
    """The ``[gateway]`` section of the config, and the addresses of the services it needs.

    Attributes:
        database_url: URL for ``serving.records``.
        push_directory: folder of the pushed versions, for label names and metrics; "" if the
            gateway cannot read it.
        host: address to listen on.
        port: HTTP port; 0 takes a free one.
        server_url: URL of the model server.
        model_name: the model's name on the model server.
        authentication: "auto" admits callers from a loopback address while no key exists, for
            predictions and feedback; "required" admits nobody without a key.
        timeout_seconds: deadline of a request, and for its body to arrive.
        retries: retries of calls that the model server did not accept.
        max_texts: maximum texts in a JSON request.
        max_text_characters: maximum characters of a text.
        max_body_bytes: maximum size of a JSON body, or of a line of a stream.
        requests_per_minute: limit per key, or per address without a key; 0 means no limit.
        breaker_failures: consecutive failures that open a version's circuit breaker.
        breaker_seconds: how long it stays open.
        store_texts: whether the texts of requests are stored.
        retention_days: days after which requests without feedback are deleted.
        log_texts: whether texts are logged.
        rollouts: whether the rollout state chooses the version; else the newest one answers.
        canary_share: share of the traffic that a canary answers.
        min_votes: agreeing votes that make a label usable without a review.
        drain_seconds: how long shutdown waits for running requests.
        split_of: see ``serving.feedback.selection.ExportSettings``.
    """

    database_url: str
    push_directory: str = ""
    host: str = "127.0.0.1"
    port: int = 8080
    server_url: str = "grpc://127.0.0.1:8500"
    model_name: str = "default"
    authentication: str = "auto"
    timeout_seconds: float = 10.0
    retries: int = 2
    max_texts: int = 256
    max_text_characters: int = 100_000
    max_body_bytes: int = 4_194_304
    requests_per_minute: int = 6000
    breaker_failures: int = 5
    breaker_seconds: float = 5.0
    store_texts: bool = True
    retention_days: int = 30
    log_texts: bool = False
    rollouts: bool = True
    canary_share: float = 0.1
    min_votes: int = 1
    drain_seconds: float = 10.0
    split_of: Callable[[bytes], str] | None = None

    @property
    def is_local(self) -> bool:
        """Whether the gateway listens only on a loopback address."""
        return is_loopback(self.host)

    @property
    def may_admit_without_key(self) -> bool:
        """Whether callers from a loopback address are admitted while no key exists."""
        return self.authentication == "auto" and self.is_local
