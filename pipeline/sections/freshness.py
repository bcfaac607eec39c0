"""Settings that keep a served model fresh: gateway, feedback, drift, triggers, rollout."""

import re
from typing import Literal

from pydantic import Field, field_validator

from pipeline.sections.section import Section


class GatewaySection(Section):
    """The gateway in front of the model server. `bert keys create` creates API keys."""

    host: str = Field(
        "127.0.0.1",
        min_length=1,
        description="Address to listen on. Any address except loopback requires API keys.",
    )
    port: int = Field(8080, ge=0, le=65_535, description="HTTP port; 0 picks a free one.")
    server_url: str = Field(
        "grpc://127.0.0.1:8500",
        pattern=r"^(grpcs?|https?)://[^\s]+$",
        description="URL of the model server, `bert serve` or TensorFlow Serving.",
        json_schema_extra={"legal": "grpc://HOST:PORT, grpcs://HOST, http://HOST:PORT or https://"},
    )
    model_name: str = Field("default", min_length=1, description="Name of the model there.")
    authentication: Literal["auto", "required"] = Field(
        "auto",
        description='"auto" accepts requests without a key on a loopback address until the first '
        "key is created.",
    )
    timeout_seconds: float = Field(10.0, gt=0, le=600, description="Deadline of a request.")
    retries: int = Field(2, ge=0, le=10, description="Retries while the server is busy.")
    max_texts: int = Field(256, ge=1, le=100_000, description="Maximum texts per request.")
    max_text_characters: int = Field(
        100_000, ge=1, le=10_000_000, description="Maximum characters per text."
    )
    max_body_bytes: int = Field(
        4_194_304, ge=1024, description="Maximum bytes of a JSON body, or of one line of a stream."
    )
    requests_per_minute: int = Field(
        6000, ge=0, description="Limit per API key, or per address without a key; 0 is no limit."
    )
    breaker_failures: int = Field(
        5, ge=1, description="Consecutive failures that open the circuit breaker."
    )
    breaker_seconds: float = Field(
        5.0, gt=0, description="How long the breaker stays open before one request is tried."
    )
    store_texts: bool = Field(
        True,
        description="Store the texts of requests, so that feedback can refer to a request and "
        "drift can be measured. Otherwise feedback must include its text.",
    )
    retention_days: int = Field(
        30, ge=1, description="Days after which requests without feedback are deleted."
    )
    log_texts: bool = Field(False, description="Write texts to the log.")


class FeedbackSection(Section):
    """Users' feedback on predictions, and how it becomes training data."""

    database_url: str = Field(
        "",
        pattern=r"^$|^sqlite:///.+|^postgresql(\+psycopg)?://.+",
        description="Database of requests, feedback and rollouts; if empty, SQLite at "
        "<pipeline.root>/service.sqlite.",
        json_schema_extra={
            "legal": '"", sqlite:///PATH or postgresql://USER:PASSWORD@HOST/DATABASE',
            "secret": True,
        },
    )
    spans: str = Field(
        "",
        description="Folder of the exported spans (span-1, span-2, ...), read in addition to "
        "data.path; if empty, <pipeline.root>/feedback.",
    )
    min_votes: int = Field(
        1, ge=1, description="Matching votes that make a label usable without a review."
    )
    max_share_per_key: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Largest share of a span from one API key; reviewed labels are exempt.",
    )
    max_examples: int = Field(100_000, ge=1, description="Maximum examples per span.")


class DriftSection(Section):
    """Detection of recent traffic that differs from the held-out data."""

    window_hours: float = Field(24.0, gt=0, description="Length of the window of recent traffic.")
    max_texts: int = Field(
        500, ge=50, le=10_000, description="Texts to sample, evenly over the window."
    )
    min_texts: int = Field(
        200, ge=20, description="Texts that the window must hold before drift is tested."
    )
    false_alarm_rate: float = Field(
        0.01,
        gt=0,
        lt=0.5,
        description="Share of checks that may raise an alarm without drift, over all tests "
        "together.",
    )
    confidence: float = Field(
        0.95, ge=0.5, le=0.999, description="Confidence level of the accuracy and F1 intervals."
    )


class TriggersSection(Section):
    """Conditions on which `bert watch` starts a run. 0 or empty switches a trigger off."""

    runner: Literal["local", "kubeflow", "vertex", "airflow"] = Field(
        "local", description="Runner that executes the runs."
    )
    interval_seconds: float = Field(
        60.0, ge=0.1, description="Pause between two polls of `bert watch`."
    )
    schedule: str = Field("", description='Cron expression in UTC, such as "0 3 * * 1".')
    feedback_examples: int = Field(
        0, ge=0, description="New usable feedback items, since the last span, that start a run."
    )
    accuracy_drop: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Start a run when the accuracy on feedback (upper end of its interval) is this "
        "far below the accuracy in the evaluation.",
    )
    drift: bool = Field(True, description="Start a run when drift is detected.")
    new_data: bool = Field(True, description="Start a run when the files of data.path change.")
    min_new_examples: int = Field(
        50,
        ge=0,
        description="Usable feedback items that drift or an accuracy drop also needs to start a "
        "run, because the same data would train the same model.",
    )
    cooldown_minutes: float = Field(60.0, ge=0, description="Cool-down between two runs.")
    runs_per_day: int = Field(4, ge=1, description="Budget: maximum runs within 24 hours.")
    quiet_hours: str = Field(
        "",
        pattern=r"^$|^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$",
        description="UTC hours in which no run starts.",
        json_schema_extra={"legal": '"" or "HH:MM-HH:MM"'},
    )

    @field_validator("schedule")
    @classmethod
    def _check_schedule(cls, value: str) -> str:
        if value and not re.fullmatch(r"@\w+|\S+( \S+){4}", value):
            raise ValueError(
                'must be a cron expression of five fields, such as "0 3 * * 1", or @daily'
            )
        return value


class RolloutSection(Section):
    """Stages in which a pushed model takes over the traffic."""

    enabled: bool = Field(
        False,
        description="Promote pushed models in stages, driven by `bert watch`; false serves every "
        "pushed version immediately.",
    )
    stages: tuple[Literal["shadow", "canary"], ...] = Field(
        ("shadow", "canary"), description="Stages before full traffic; [] promotes immediately."
    )
    canary_share: float = Field(0.1, gt=0, lt=1, description="Share of the traffic for a canary.")
    min_requests: int = Field(
        200, ge=1, description="Requests that the candidate must answer in each stage."
    )
    max_stage_hours: float = Field(
        24.0, gt=0, description="Roll back if a stage is still undecided after this time."
    )
    max_error_rate: float = Field(
        0.01, ge=0, le=1, description="Roll back above this share of failed requests."
    )
    max_latency_ratio: float = Field(
        2.0, gt=0, description="Roll back above this ratio of median latency to the stable version."
    )
    max_disagreement: float = Field(
        0.3,
        gt=0,
        le=1,
        description="Roll back above this share of labels that differ from the stable version's.",
    )
    max_accuracy_loss: float = Field(
        0.02,
        ge=0,
        le=1,
        description="Roll back if the loss of accuracy on feedback is larger than this, with its "
        "whole interval.",
    )
