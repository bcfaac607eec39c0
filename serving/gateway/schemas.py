"""The JSON bodies, as pydantic checks them and the OpenAPI document shows them."""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

_EXACTLY_ONE = "give exactly one of {}"
#: Characters of a label, and of a reviewer's.
_LABEL_CHARACTERS = 200
#: In one request.
MAX_VOTES = 256


class Body(BaseModel):
    """A request's body."""

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
        """The texts, one or more."""
        return [self.text] if self.text is not None else list(self.texts or ())


class VoteBody(Body):
    """The true label of a prediction, or of a text."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [{"required": [name]} for name in ("prediction_id", "request_id", "text")],
            "examples": [{"text": "A warm room.", "label": "good"}],
        }
    )
    prediction_id: str | None = Field(None, min_length=1, max_length=64)
    request_id: str | None = Field(
        None, min_length=1, max_length=48, description="Of a request that had one text."
    )
    text: str | None = Field(
        None, description="What the label is of; beside an id, needed where texts are not kept."
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
        """The prediction, or the request of one text, that it names."""
        return self.prediction_id if self.prediction_id is not None else self.request_id


class VoteBatchBody(Body):
    """Several votes; each is kept or refused by itself."""

    items: list[VoteBody] = Field(min_length=1, max_length=MAX_VOTES)


class ReviewBody(Body):
    """A person's last word on a text."""

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

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.text is None) == (self.text_identity is None):
            raise ValueError(_EXACTLY_ONE.format("text and text_identity"))
        return self


class PredictionAnswer(BaseModel):
    """The answer to one text."""

    id: str = Field(description="Names the prediction in feedback.")
    label: str
    score: float = Field(description="Probability of the label.")
    scores: dict[str, float] = Field(
        description="Of all labels; empty where the names are unknown."
    )


class PredictAnswer(BaseModel):
    """The answers, in the order of the texts."""

    request_id: str
    model_version: int
    role: Literal["stable", "canary"]
    stored: bool = Field(description="Whether feedback can name the predictions.")
    predictions: list[PredictionAnswer]


class VoteAnswer(BaseModel):
    """What became of one vote."""

    feedback_id: int
    created: bool = Field(
        description="False when the voter had voted before: this vote counts now."
    )
    known: bool = Field(
        description="Whether the label is in the vocabulary; others are kept aside."
    )
    label: str


class ErrorDetail(BaseModel):
    """What went wrong."""

    code: str = Field(description="For programs.")
    message: str = Field(description="For people.")
    request_id: str


class ErrorAnswer(BaseModel):
    """The shape of every error."""

    error: ErrorDetail


class VoteBatchAnswer(BaseModel):
    """What became of each vote, in their order; a refused one has its error in its place."""

    items: list[VoteAnswer | ErrorAnswer]


class ModelAnswer(BaseModel):
    """The deployed model."""

    model: str
    version: int | None = Field(description="The version that answers most requests.")
    available: list[int] = Field(description="Versions that can answer, newest first.")
    labels: list[str]
    facts: dict[str, Any] = Field(description="From the model card.")
    evaluation: dict[str, Any] = Field(description="On held-out data; empty where it is unknown.")
    rollout: dict[str, Any] | None = Field(
        description="Where the rollout stands; null without one."
    )


class DecisionAnswer(BaseModel):
    """One decision of the watcher, or one step of the rollout."""

    kind: Literal["run", "rollout"]
    created: float = Field(description="Seconds since 1970, UTC.")
    action: str
    reason: str
    version: int | None = None
    triggers: list[str] = []
    by: str = ""


class DecisionsAnswer(BaseModel):
    """The last decisions, the newest first."""

    items: list[DecisionAnswer]


class FeedbackText(BaseModel):
    """A text with all that people said of it."""

    text_identity: str
    text: str
    votes: list[tuple[str, str]] = Field(description="Voter and label, the oldest first.")
    label: str | None = Field(description="To train on; null while there is none.")
    reviewed: bool
    state: str = Field(description='"usable", or why it is not.')


class FeedbackAnswer(BaseModel):
    """Texts with feedback."""

    counts: dict[str, int]
    items: list[FeedbackText]


class ReviewAnswer(BaseModel):
    """A review that was kept."""

    text_identity: str
    label: str | None
