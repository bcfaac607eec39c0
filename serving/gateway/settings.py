"""The gateway's settings."""

import dataclasses

from modules.contract.addresses import is_loopback


@dataclasses.dataclass(frozen=True)
class GatewaySettings:
    """What ``[gateway]`` of the config says, and where the rest of the loop is.

    Attributes:
        database_url: of ``serving.records``.
        push_directory: folder of the pushed versions, for the names of labels and for metrics;
            "" where it cannot be read from here.
        host: address to listen on.
        port: of HTTP; 0 takes a free one.
        server_url: the model server.
        model_name: the model's name there.
        authentication: "auto" lets callers of a loopback address in while no key exists;
            "required" lets nobody in without a key.
        timeout_seconds: deadline of one request, and for its body to arrive.
        retries: further tries of calls that the model server did not take.
        max_texts: in one JSON request.
        max_text_characters: in one text.
        max_body_bytes: of one JSON body, or of one line of a stream.
        requests_per_minute: of one key, or of one address without a key; 0 is no limit.
        breaker_failures: in a row, after which a version is left alone.
        breaker_seconds: how long it is left alone.
        store_texts: whether the texts of requests are kept.
        retention_days: after which requests without feedback are deleted.
        log_texts: whether texts go to the log.
        rollouts: whether the rollout's state says who answers; else the newest version does.
        canary_share: of the traffic that a canary answers.
        min_votes: agreeing votes that make a label usable without a review.
        drain_seconds: how long a stop waits for requests under way.
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

    @property
    def is_local(self) -> bool:
        """Whether it listens on a loopback address alone."""
        return is_loopback(self.host)
