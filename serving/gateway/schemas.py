"""JSON bodies, as pydantic validates them and the OpenAPI document shows them."""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

_EXACTLY_ONE = "give exactly one of {}"
#: Maximum characters of a label.
_LABEL_CHARACTERS = 200
#: Maximum feedback items in a request.
MAX_VOTES = 256


class Body(BaseModel):
    """A request body."""

    model_config = ConfigDict(extra="forbid", strict=True)


class PredictBody(Body):
    """Texts to classify: one ``text``, or several ``texts``."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [{"required": ["text"]}, {"required": ["texts"]}],
            "examples": [{"texts": ["A warm room.", "Two hours I will not get back."]}],
        }
    )
    text: str | None = None
    texts: list[str] | None = Field(None, min_length=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.text is None) == (self.texts is None):
            raise ValueError(_EXACTLY_ONE.format("text and texts"))
        return self

    def all_texts(self) -> list[str]:
        """Return the texts, one or more."""
        return [self.text] if self.text is not None else list(self.texts or ())


class VoteBody(Body):
    """The true label of a prediction or of a text."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [{"required": [name]} for name in ("prediction_id", "request_id", "text")],
            "examples": [{"text": "A warm room.", "label": "good"}],
        }
    )
    prediction_id: str | None = Field(None, min_length=1, max_length=64)
    request_id: str | None = Field(
        None, min_length=1, max_length=48, description="Id of a request with a single text."
    )
    text: str | None = Field(
        None,
        description="The labelled text; required in addition to an id if texts are not stored.",
    )
    label: str = Field(min_length=1, max_length=_LABEL_CHARACTERS)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.prediction_id is not None and self.request_id is not None:
            raise ValueError("give prediction_id or request_id, not both")
        if self.named is None and self.text is None:
            raise ValueError("give prediction_id, request_id or text")
        return self

    @property
    def named(self) -> str | None:
        """The id of the prediction, or of the request with a single text."""
        return self.prediction_id if self.prediction_id is not None else self.request_id


class VoteBatchBody(Body):
    """Several feedback items; each is stored or refused separately."""

    items: list[VoteBody] = Field(min_length=1, max_length=MAX_VOTES)


class ReviewBody(Body):
    """A reviewer's decision on the label of a text."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["text"]}, {"required": ["text_identity"]}]}
    )
    text: str | None = None
    text_identity: str | None = Field(None, pattern="^[0-9a-f]{64}$")
    label: str | None = Field(
        min_length=1,
        max_length=_LABEL_CHARACTERS,
        description="The true label; null keeps the text out of the training data.",
    )
    new_class: bool = Field(False, description="Accept a label that the model does not know.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.text is None) == (self.text_identity is None):
            raise ValueError(_EXACTLY_ONE.format("text and text_identity"))
        if self.new_class and self.label is None:
            raise ValueError("new_class needs a label")
        return self


class PredictionAnswer(BaseModel):
    """The prediction for one text."""

    id: str = Field(description="Id to use in feedback.")
    label: str
    score: float = Field(description="Probability of the label.")
    scores: dict[str, float] = Field(
        description="Probabilities of all labels; empty if their names are unknown."
    )


class PredictAnswer(BaseModel):
    """Predictions, in the order of the texts."""

    request_id: str
    model_version: int
    role: Literal["stable", "canary"]
    stored: bool = Field(description="Whether feedback can refer to the predictions.")
    predictions: list[PredictionAnswer]


class VoteAnswer(BaseModel):
    """The outcome of one feedback item."""

    feedback_id: int
    created: bool = Field(
        description="False if it repeats or replaces an earlier feedback item of this caller."
    )
    known: bool = Field(
        description="Whether the label is in the vocabulary; others are set aside for a review."
    )
    label: str


class ErrorDetail(BaseModel):
    """Details of an error."""

    code: str = Field(description="Error code, for programs.")
    message: str = Field(description="Error message, for people.")
    request_id: str


class ErrorAnswer(BaseModel):
    """The body of every error."""

    error: ErrorDetail


class VoteBatchAnswer(BaseModel):
    """The outcome of each feedback item, in order; the error of a refused one."""

    items: list[VoteAnswer | ErrorAnswer]


class ModelAnswer(BaseModel):
    """The deployed model."""

    model: str
    version: int | None = Field(description="The version that answers most requests.")
    available: list[int] = Field(description="Available versions, newest first.")
    labels: list[str]
    facts: dict[str, Any] = Field(description="Facts from the model card.")
    evaluation: dict[str, Any] = Field(description="Metrics on held-out data; empty if unknown.")
    rollout: dict[str, Any] | None = Field(description="State of the rollout; null without one.")


class DecisionAnswer(BaseModel):
    """A decision whether to start a run, or a step of a rollout."""

    kind: Literal["run", "rollout"]
    created: float = Field(description="Unix time in seconds.")
    action: str
    reason: str
    version: int | None = None
    triggers: list[str] = []
    by: str = ""


class DecisionsAnswer(BaseModel):
    """The latest decisions, newest first."""

    items: list[DecisionAnswer]


class FeedbackText(BaseModel):
    """A text with its feedback."""

    text_identity: str
    text: str
    votes: list[tuple[str, str]] = Field(description="Voter and label, oldest first.")
    label: str | None = Field(description="Label to train on; null while there is none.")
    reviewed: bool
    state: str = Field(description='"usable", or the reason why the text is not.')


class FeedbackAnswer(BaseModel):
    """Texts with feedback."""

    counts: dict[str, int]
    items: list[FeedbackText]


class ReviewAnswer(BaseModel):
    """A stored review."""

    text_identity: str
    label: str | None
