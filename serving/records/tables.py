"""The tables, as SQLAlchemy maps them. Times are seconds since 1970, UTC.

::

    api_keys                       who may call the gateway
    predictions                    each text that was answered, and by which version
      shadow_predictions           what the candidate would have said
      feedback                     votes: what people say the label is
    reviews                        a person's last word on a text's label
    spans, span_texts              what was exported to training
    rollouts, rollout_events       which version serves whom, and how that came about
    decisions, triggered_runs      why the watcher started a run, or did not
"""

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

#: Key of callers without an API key.
ANONYMOUS = "anonymous"

#: ``Prediction.role``: who answered.
STABLE, CANARY = "stable", "canary"

#: ``Prediction.status`` and ``ShadowPrediction.status`` of an answer; else the error's code.
OK = "ok"


class Base(DeclarativeBase):
    """Of all tables."""

    type_annotation_map = {
        # Versions have 64 bits; SQLite numbers rows by itself only where the type is INTEGER.
        int: BigInteger().with_variant(Integer, "sqlite"),
        float: Float(53),
        dict[str, Any]: JSON(none_as_null=True),
        list[str]: JSON(none_as_null=True),
    }


class ApiKeyRow(Base):
    """A key of the gateway. The key itself is shown once and never kept.

    Attributes:
        id: first part of the key, which is no secret.
        name: whose it is, for people.
        digest: SHA-256 of the whole key.
        scopes: of "predict", "feedback" and "admin".
        created: when it was made.
        disabled: when it was taken back; None while it counts.
    """

    __tablename__ = "api_keys"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    digest: Mapped[bytes] = mapped_column(LargeBinary(32))
    scopes: Mapped[list[str]]
    created: Mapped[float]
    disabled: Mapped[float | None]


class PredictionRow(Base):
    """One text of one request.

    Attributes:
        id: ``<request_id>-<position>``.
        request_id: of the request it came in.
        position: of the text in that request, from 0.
        created: when the request came.
        key_id: ``ApiKeyRow.id`` or ``ANONYMOUS``.
        model_version: the version that answered; None when none did.
        role: ``STABLE`` or ``CANARY``.
        status: ``OK`` or the code of the error.
        latency_ms: of the call to the model server, for the whole request.
        label: the answer; None without one, and so ``score`` and ``scores``.
        score: of the label, 0 to 1.
        scores: of each label.
        text: None where texts are not kept.
        text_identity: ``modules.contract.text_identity`` as 64 hex digits.
        characters: length of the text.
    """

    __tablename__ = "predictions"
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    request_id: Mapped[str] = mapped_column(String(48), index=True)
    position: Mapped[int]
    created: Mapped[float] = mapped_column(index=True)
    key_id: Mapped[str] = mapped_column(String(32))
    model_version: Mapped[int | None]
    role: Mapped[str] = mapped_column(String(16))
    status: Mapped[str] = mapped_column(String(32))
    latency_ms: Mapped[float]
    label: Mapped[str | None] = mapped_column(Text)
    score: Mapped[float | None]
    scores: Mapped[dict[str, Any] | None]
    text: Mapped[str | None] = mapped_column(Text)
    text_identity: Mapped[str] = mapped_column(String(64), index=True)
    characters: Mapped[int]
    __table_args__ = (Index("predictions_by_version", "model_version", "created"),)


class ShadowPredictionRow(Base):
    """What the candidate said of a text that the stable version answered.

    Attributes:
        prediction_id: the answered prediction.
        created: when.
        model_version: the candidate.
        status: ``OK`` or the code of the error.
        latency_ms: of the mirrored call.
        label: the candidate's answer; None without one.
        score: of that label.
    """

    __tablename__ = "shadow_predictions"
    prediction_id: Mapped[str] = mapped_column(
        ForeignKey("predictions.id", ondelete="CASCADE"), primary_key=True
    )
    model_version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    created: Mapped[float]
    status: Mapped[str] = mapped_column(String(32))
    latency_ms: Mapped[float]
    label: Mapped[str | None] = mapped_column(Text)
    score: Mapped[float | None]


class FeedbackRow(Base):
    """One vote on the true label of a text; a second vote of the same voter replaces the first.

    Attributes:
        id: grows.
        created: of the first vote.
        updated: of the last.
        key_id: the voter.
        target: the prediction's id, or ``text:<text_identity>``.
        prediction_id: when the vote names a prediction; else None.
        text: what was voted on.
        text_identity: ``modules.contract.text_identity`` as 64 hex digits.
        label: the voted label.
        known: whether the label was in the vocabulary; others are kept aside.
        predicted_label: the answer that was voted on, when known.
        model_version: the version that gave that answer, when known.
    """

    __tablename__ = "feedback"
    id: Mapped[int] = mapped_column(primary_key=True)
    created: Mapped[float]
    updated: Mapped[float] = mapped_column(index=True)
    key_id: Mapped[str] = mapped_column(String(32))
    target: Mapped[str] = mapped_column(String(80))
    prediction_id: Mapped[str | None] = mapped_column(String(64))
    text: Mapped[str] = mapped_column(Text)
    text_identity: Mapped[str] = mapped_column(String(64), index=True)
    label: Mapped[str] = mapped_column(Text)
    known: Mapped[bool]
    predicted_label: Mapped[str | None] = mapped_column(Text)
    model_version: Mapped[int | None]
    __table_args__ = (UniqueConstraint("key_id", "target", name="one_vote"),)


class ReviewRow(Base):
    """A person's last word on a text; it outweighs all votes.

    Attributes:
        text_identity: of the text.
        label: the true label; None keeps the text out of the training data.
        reviewer: ``ApiKeyRow.id``, or who used the command line.
        created: when.
    """

    __tablename__ = "reviews"
    text_identity: Mapped[str] = mapped_column(String(64), primary_key=True)
    label: Mapped[str | None] = mapped_column(Text)
    reviewer: Mapped[str] = mapped_column(String(200))
    created: Mapped[float]


class SpanRow(Base):
    """An exported span.

    Attributes:
        number: of the folder ``span-<number>``, from 1.
        created: when.
        digest: SHA-256 of its data file.
        examples: rows in it.
        summary: counts by reason, as printed.
    """

    __tablename__ = "spans"
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    created: Mapped[float]
    digest: Mapped[str] = mapped_column(String(64))
    examples: Mapped[int]
    summary: Mapped[dict[str, Any]]


class SpanTextRow(Base):
    """Which text went to which span, so that none goes twice."""

    __tablename__ = "span_texts"
    text_identity: Mapped[str] = mapped_column(String(64), primary_key=True)
    span: Mapped[int] = mapped_column(ForeignKey("spans.number"))


class RolloutRow(Base):
    """Where the rollout of a model stands. One row a model; ``revision`` guards each change.

    Attributes:
        model: the model's name at the server.
        revision: grows by one with each change.
        stable: the version that answers.
        previous: the stable version before, kept loaded for a rollback.
        candidate: the version on trial.
        stage: "loading", "shadow", "canary", or "full" while nothing is on trial.
        stage_started: when the stage began.
        rejected: versions that were rolled back; they are never tried again.
    """

    __tablename__ = "rollouts"
    model: Mapped[str] = mapped_column(String(200), primary_key=True)
    revision: Mapped[int]
    stable: Mapped[int | None]
    previous: Mapped[int | None]
    candidate: Mapped[int | None]
    stage: Mapped[str] = mapped_column(String(16))
    stage_started: Mapped[float]
    rejected: Mapped[dict[str, Any]]


class RolloutEventRow(Base):
    """One change of a rollout, and why.

    Attributes:
        id: grows.
        model: the model's name.
        created: when.
        action: "adopt", "start", "advance", "promote", "rollback".
        version: the version it is about.
        reason: one sentence.
        by: "watch", or who typed the command.
        details: the figures behind it.
    """

    __tablename__ = "rollout_events"
    id: Mapped[int] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(String(200))
    created: Mapped[float]
    action: Mapped[str] = mapped_column(String(16))
    version: Mapped[int | None]
    reason: Mapped[str] = mapped_column(Text)
    by: Mapped[str] = mapped_column(String(200))
    details: Mapped[dict[str, Any]]


class DecisionRow(Base):
    """Why the watcher started a run, or did not.

    Attributes:
        id: grows.
        created: when.
        started: whether a run was started.
        triggers: those that fired, by name.
        reason: one sentence.
        details: what each trigger and each brake saw.
        run_id: ``TriggeredRunRow.id`` of the run; None without one.
    """

    __tablename__ = "decisions"
    id: Mapped[int] = mapped_column(primary_key=True)
    created: Mapped[float] = mapped_column(index=True)
    started: Mapped[bool]
    triggers: Mapped[list[str]]
    reason: Mapped[str] = mapped_column(Text)
    details: Mapped[dict[str, Any]]
    run_id: Mapped[int | None]


class TriggeredRunRow(Base):
    """A run that the watcher started.

    Attributes:
        id: grows.
        runner: "local", "kubeflow", "vertex" or "airflow".
        started: when.
        finished: when it was seen to have ended; None until then.
        state: "running", "succeeded", "failed" or "lost".
        external_id: the platform's run id, or the local process' id.
        details: data fingerprint, span and what else the next decision needs.
    """

    __tablename__ = "triggered_runs"
    id: Mapped[int] = mapped_column(primary_key=True)
    runner: Mapped[str] = mapped_column(String(16))
    started: Mapped[float]
    finished: Mapped[float | None]
    state: Mapped[str] = mapped_column(String(16))
    external_id: Mapped[str] = mapped_column(Text)
    details: Mapped[dict[str, Any]]
