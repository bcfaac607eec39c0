"""The tables, as SQLAlchemy maps them. Times are seconds since 1970, UTC.

::

    api_keys                       callers of the gateway
    predictions                    classified texts, and the versions that answered
      shadow_predictions           the candidate's predictions for mirrored texts
      feedback                     votes on the true labels of texts
    reviews                        labels that override the votes on a text
    spans, span_texts              texts exported for training
    rollouts, rollout_events       which version serves, and every change of it
    decisions, triggered_runs      why the watcher started a run or did not
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

#: ``key_id`` of callers without an API key.
ANONYMOUS = "anonymous"

#: ``PredictionRow.role``: role of the version that answered.
STABLE, CANARY = "stable", "canary"

#: ``status`` of an answered ``PredictionRow`` or ``ShadowPredictionRow``; else the error's code.
OK = "ok"


class Base(DeclarativeBase):
    """Base of all tables."""

    type_annotation_map = {
        # Versions have 64 bits; SQLite numbers rows by itself only where the type is INTEGER.
        int: BigInteger().with_variant(Integer, "sqlite"),
        float: Float(53),
        dict[str, Any]: JSON(none_as_null=True),
        list[str]: JSON(none_as_null=True),
    }

    def columns(self) -> dict[str, Any]:
        """Return the values of the row by column."""
        return {column.key: getattr(self, column.key) for column in self.__table__.columns}


class ApiKeyRow(Base):
    """An API key of the gateway. The key itself is shown once and never stored.

    Attributes:
        id: first part of the key, which is not secret.
        name: the owner's name, for people.
        digest: SHA-256 of the whole key.
        scopes: some of "predict", "feedback" and "admin".
        created: time of creation.
        disabled: when it was disabled; None while it is valid.
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
        request_id: id of the request.
        position: position of the text in the request, from 0.
        created: time of the request.
        key_id: ``ApiKeyRow.id`` or ``ANONYMOUS``.
        model_version: the version that was called; None if none was.
        role: ``STABLE`` or ``CANARY``.
        status: ``OK`` or the code of the error.
        latency_ms: latency of the call to the model server, for the whole request.
        label: the predicted label; None without an answer, as are ``score`` and ``scores``.
        score: score of the label, 0 to 1.
        scores: score of each label.
        text: None if texts are not stored.
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
    """The candidate's prediction for a text that the stable version answered.

    Attributes:
        prediction_id: the stable version's prediction.
        created: time of the candidate's answer.
        model_version: the candidate.
        status: ``OK`` or the code of the error.
        latency_ms: latency of the mirrored call.
        label: the candidate's label; None without an answer.
        score: score of that label.
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
        id: ascending.
        created: time of the first vote.
        updated: time of the last vote.
        key_id: the voter.
        target: the prediction's id, or ``text:<text_identity>``.
        prediction_id: the prediction, if the vote names one; else None.
        text: the text voted on.
        text_identity: ``modules.contract.text_identity`` as 64 hex digits.
        label: the true label, according to the voter.
        known: whether the label was in the vocabulary; others are set aside.
        predicted_label: the predicted label, if known.
        model_version: the version that predicted it, if known.
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
    """A reviewer's decision on the label of a text; it overrides all votes.

    Attributes:
        text_identity: identity of the text.
        label: the true label; None keeps the text out of the training data.
        reviewer: ``ApiKeyRow.id``, or the user of the command line.
        created: time of the review.
    """

    __tablename__ = "reviews"
    text_identity: Mapped[str] = mapped_column(String(64), primary_key=True)
    label: Mapped[str | None] = mapped_column(Text)
    reviewer: Mapped[str] = mapped_column(String(200))
    created: Mapped[float]


class SpanRow(Base):
    """An exported span.

    Attributes:
        number: number of the folder ``span-<number>``, from 1.
        created: time of the export.
        digest: SHA-256 of its data file.
        examples: number of rows.
        summary: counts by reason, as printed.
    """

    __tablename__ = "spans"
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    created: Mapped[float]
    digest: Mapped[str] = mapped_column(String(64))
    examples: Mapped[int]
    summary: Mapped[dict[str, Any]]


class SpanTextRow(Base):
    """The span of an exported text, so that no text is exported twice."""

    __tablename__ = "span_texts"
    text_identity: Mapped[str] = mapped_column(String(64), primary_key=True)
    span: Mapped[int] = mapped_column(ForeignKey("spans.number"))


class RolloutRow(Base):
    """The state of a model's rollout; one row per model. ``revision`` guards each change.

    Attributes:
        model: the model's name on the server.
        revision: incremented by each change.
        stable: the version that serves.
        previous: the former stable version, kept loaded for a rollback.
        candidate: the version on trial.
        stage: "loading", "shadow", "canary", or "full" without a candidate.
        stage_started: when the stage began.
        rejected: why each rejected version was rolled back; never restarted automatically.
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
    """A change of a rollout, with its reason.

    Attributes:
        id: ascending.
        model: the model's name.
        created: time of the change.
        action: "adopt", "start", "advance", "promote", "rollback".
        version: the affected version.
        reason: one sentence.
        by: "watch", or the user of the command.
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
    """A decision of the watcher whether to start a run.

    Attributes:
        id: ascending.
        created: time of the decision.
        started: whether a run was started.
        triggers: names of the triggers that fired.
        reason: one sentence.
        details: findings of each trigger and brake.
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
        id: ascending.
        runner: "local", "kubeflow", "vertex" or "airflow".
        started: start time.
        finished: when its end was observed; None until then.
        state: "running", "succeeded", "failed" or "lost".
        external_id: the platform's run id, or the local process id.
        details: data fingerprint, span, and further input to the next decision.
    """

    __tablename__ = "triggered_runs"
    id: Mapped[int] = mapped_column(primary_key=True)
    runner: Mapped[str] = mapped_column(String(16))
    started: Mapped[float]
    finished: Mapped[float | None]
    state: Mapped[str] = mapped_column(String(16))
    external_id: Mapped[str] = mapped_column(Text)
    details: Mapped[dict[str, Any]]
