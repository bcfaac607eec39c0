"""Sections that keep a served model fresh: gateway, feedback, drift, triggers, rollout."""

import re
from typing import Literal

from pydantic import Field, field_validator

from pipeline.sections.section import Section


class GatewaySection(Section):
    """The gateway in front of the model server. API keys are made with `bert keys create`."""

    host: str = Field(
        "127.0.0.1",
        min_length=1,
        description="Address to listen on. Any but a loopback address needs API keys.",
    )
    port: int = Field(8080, ge=0, le=65_535, description="Of HTTP; 0 takes a free one.")
    server_url: str = Field(
        "grpc://127.0.0.1:8500",
        pattern=r"^(grpcs?|https?)://[^\s]+$",
        description="The model server, `bert serve` or TensorFlow Serving.",
        json_schema_extra={"legal": "grpc://HOST:PORT, grpcs://HOST, http://HOST:PORT or https://"},
    )
    model_name: str = Field("default", min_length=1, description="The model's name there.")
    authentication: Literal["auto", "required"] = Field(
        "auto",
        description='"auto" lets callers of a loopback address in without a key as long as no key '
        "has been made.",
    )
    timeout_seconds: float = Field(10.0, gt=0, le=600, description="Deadline of one request.")
    retries: int = Field(2, ge=0, le=10, description="Further tries where the server is busy.")
    max_texts: int = Field(256, ge=1, le=100_000, description="Texts in one JSON request.")
    max_text_characters: int = Field(
        100_000, ge=1, le=10_000_000, description="Characters in one text."
    )
    max_body_bytes: int = Field(
        4_194_304, ge=1024, description="Bytes in one JSON body; a stream's lines count singly."
    )
    requests_per_minute: int = Field(
        6000, ge=0, description="Of one key, or of one address without a key; 0 is no limit."
    )
    breaker_failures: int = Field(
        5, ge=1, description="Failures in a row after which the model server is left alone a while."
    )
    breaker_seconds: float = Field(
        5.0, gt=0, description="How long it is left alone before one request tries again."
    )
    store_texts: bool = Field(
        True,
        description="Keep the texts of requests, so that feedback may name a request and drift can "
        "be told. Without them feedback must carry its text.",
    )
    retention_days: int = Field(
        30, ge=1, description="Requests without feedback are deleted after so many days."
    )
    log_texts: bool = Field(False, description="Write texts into the log.")


class FeedbackSection(Section):
    """What people say of the answers, and how it becomes training data."""

    database_url: str = Field(
        "",
        pattern=r"^$|^sqlite:///.+|^postgresql(\+psycopg)?://.+",
        description="Where requests, feedback and rollouts are kept; empty is SQLite at "
        "<pipeline.root>/service.sqlite.",
        json_schema_extra={
            "legal": '"", sqlite:///PATH or postgresql://USER:PASSWORD@HOST/DATABASE',
            "secret": True,
        },
    )
    spans: str = Field(
        "",
        description="Folder of the exported spans (span-1, span-2, ...), read beside data.path; "
        "empty is <pipeline.root>/feedback.",
    )
    min_votes: int = Field(
        1, ge=1, description="Agreeing votes that make a label usable without a review."
    )
    max_share_per_key: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Share of a span that may come from one API key; reviewed labels are exempt.",
    )
    max_examples: int = Field(100_000, ge=1, description="Examples in one span at most.")


class DriftSection(Section):
    """When recent traffic counts as unlike the training data."""

    window_hours: float = Field(24.0, gt=0, description="How far back recent traffic goes.")
    max_texts: int = Field(
        500, ge=50, le=10_000, description="Texts of the window that are looked at, drawn evenly."
    )
    min_texts: int = Field(200, ge=20, description="Fewer in the window decide nothing.")
    false_alarm_rate: float = Field(
        0.01,
        gt=0,
        lt=0.5,
        description="Share of checks of undrifted traffic that may raise an alarm, all tests "
        "together.",
    )
    confidence: float = Field(
        0.95, ge=0.5, le=0.999, description="Of the interval around accuracy and F1."
    )


class TriggersSection(Section):
    """What starts a run by itself (`bert watch`). 0 or empty switches a trigger off."""

    runner: Literal["local", "kubeflow", "vertex", "airflow"] = Field(
        "local", description="Where runs are started."
    )
    interval_seconds: float = Field(
        60.0, ge=0.1, description="Pause between two polls of `bert watch`."
    )
    schedule: str = Field("", description='Cron expression in UTC, such as "0 3 * * 1".')
    feedback_examples: int = Field(
        0, ge=0, description="Usable feedback since the last span that starts a run."
    )
    accuracy_drop: float = Field(
        0.0,
        ge=0,
        le=1,
        description="A run starts when the upper end of the interval of the accuracy on feedback "
        "is this far below that of the evaluation.",
    )
    drift: bool = Field(True, description="A run starts when drift is raised.")
    new_data: bool = Field(True, description="A run starts when the files of data.path change.")
    min_new_examples: int = Field(
        50,
        ge=0,
        description="Drift and an accuracy drop start a run only with so many usable feedback "
        "examples: the same data would make the same model.",
    )
    cooldown_minutes: float = Field(
        60.0, ge=0, description="Pause after a run before the next may start."
    )
    runs_per_day: int = Field(4, ge=1, description="Runs that may start within 24 hours.")
    quiet_hours: str = Field(
        "",
        pattern=r"^$|^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$",
        description="UTC hours in which nothing starts.",
        json_schema_extra={"legal": '"" or "HH:MM-HH:MM"'},
    )

    @field_validator("schedule")
    @classmethod
    def _check_schedule(cls, value: str) -> str:
        if value and not re.fullmatch(r"@\w+|\S+( \S+){4}", value):
            raise ValueError(
                'legal is a cron expression of five fields, such as "0 3 * * 1", or @daily'
            )
        return value


class RolloutSection(Section):
    """How a pushed model takes over the traffic."""

    enabled: bool = Field(
        False,
        description="Pushed models take the traffic by stages, moved on by `bert watch`; false "
        "serves every pushed version at once.",
    )
    stages: tuple[Literal["shadow", "canary"], ...] = Field(
        ("shadow", "canary"), description="What comes before full traffic; [] is full at once."
    )
    canary_share: float = Field(
        0.1, gt=0, lt=1, description="Share of the traffic that a canary answers."
    )
    min_requests: int = Field(
        200, ge=1, description="Requests that the candidate must have answered in each stage."
    )
    max_stage_hours: float = Field(
        24.0, gt=0, description="A stage that has not decided by then is rolled back."
    )
    max_error_rate: float = Field(
        0.01, ge=0, le=1, description="Share of failed requests above which it is rolled back."
    )
    max_latency_ratio: float = Field(
        2.0, gt=0, description="Median latency over the stable version's, above which likewise."
    )
    max_disagreement: float = Field(
        0.3, gt=0, le=1, description="Share of other labels than the stable version's, likewise."
    )
    max_accuracy_loss: float = Field(
        0.02,
        ge=0,
        le=1,
        description="Loss of accuracy on feedback, beyond its interval, likewise.",
    )
