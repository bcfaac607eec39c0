"""``/v1/feedback`` and ``/v1/reviews``: true labels of predictions and texts."""

import asyncio
import dataclasses
from collections.abc import Callable
from typing import Annotated, Literal, TypeVar

from fastapi import APIRouter, Depends, Query
from pydantic import TypeAdapter
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request

from serving.feedback.errors import FeedbackError, UnknownPredictionError
from serving.feedback.reviews import Reviewed, add_review
from serving.feedback.selection import ExportSettings, Selection
from serving.feedback.store import Vote
from serving.feedback.votes import identity_of
from serving.gateway import body, openapi
from serving.gateway.access import Visit, needs
from serving.gateway.errors import GatewayError, database_away, error_body
from serving.gateway.schemas import (
    ErrorAnswer,
    FeedbackAnswer,
    FeedbackText,
    ReviewAnswer,
    ReviewBody,
    VoteAnswer,
    VoteBatchAnswer,
    VoteBatchBody,
    VoteBody,
)
from serving.records.api_keys import ADMIN, FEEDBACK

router = APIRouter(tags=["feedback"])

_vote_body: TypeAdapter[VoteBody | VoteBatchBody] = TypeAdapter(VoteBody | VoteBatchBody)
_review_body: TypeAdapter[ReviewBody] = TypeAdapter(ReviewBody)
_Result = TypeVar("_Result")

#: How long a feedback item waits for its prediction to be written.
_FLUSH_SECONDS = 5.0
_USABLE, _ALL = "usable", "all"
State = Literal[
    "all",
    "usable",
    "already_exported",
    "discarded",
    "conflict",
    "new_class",
    "too_few_votes",
    "over_share",
    "over_max_examples",
]


@router.post(
    "/v1/feedback",
    summary="Send feedback",
    status_code=202,
    responses=openapi.errors(400, 401, 403, 404, 408, 413, 415, 422, 429, 503),
    openapi_extra=openapi.body(VoteBody, VoteBatchBody),
)
async def give_feedback(
    request: Request, visit: Annotated[Visit, Depends(needs(FEEDBACK))]
) -> VoteAnswer | VoteBatchAnswer:
    """Send the true label of a prediction or of a text.

    202 means that the feedback item is on disk. Sending it again changes nothing; another label
    replaces the earlier one. A label outside the model's vocabulary is set aside for a review.
    With ``items``, each item is stored or refused separately, and 202 means that all stored items
    are on disk.
    """
    given = await body.read_json(request, _vote_body, visit.parts.settings)
    if isinstance(given, VoteBody):
        return await _keep(visit, given)
    return VoteBatchAnswer(items=[await _keep_or_error(visit, item) for item in given.items])


@router.get(
    "/v1/feedback",
    summary="List texts with feedback",
    responses=openapi.errors(401, 403, 422, 429, 503),
)
async def list_feedback(
    visit: Annotated[Visit, Depends(needs(ADMIN))],
    state: State = _ALL,  # type: ignore[assignment]
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> FeedbackAnswer:
    """List texts with feedback, and whether they are usable for training."""
    parts = visit.parts
    labels = await _vocabulary(visit)
    settings = ExportSettings(min_votes=parts.settings.min_votes)
    selection = await _in_database(lambda: parts.store.usable_examples(settings, labels=labels))
    return FeedbackAnswer(counts=selection.counts(), items=_texts(selection, state, limit))


@router.post(
    "/v1/reviews",
    summary="Review a text",
    responses=openapi.errors(400, 401, 403, 404, 408, 413, 415, 422, 429, 503),
    openapi_extra=openapi.body(ReviewBody),
)
async def review(request: Request, visit: Annotated[Visit, Depends(needs(ADMIN))]) -> ReviewAnswer:
    """Set the label of a text with feedback; a review overrides all feedback items."""
    given = await body.read_json(request, _review_body, visit.parts.settings)
    if given.text is not None:
        body.check_text(given.text, visit.parts.settings)
    database, key_id = visit.parts.database, visit.identity.key_id

    def add() -> Reviewed:
        identity = given.text_identity or identity_of(given.text or "")
        return add_review(database, identity, given.label, reviewer=key_id)

    try:
        reviewed = await _in_database(add)
    except FeedbackError as error:
        raise _refused(error) from error
    return ReviewAnswer(text_identity=reviewed.text_identity, label=reviewed.label)


async def _keep(visit: Visit, given: VoteBody) -> VoteAnswer:
    """Store one feedback item.

    Raises:
        GatewayError: the item cannot be stored; nothing was written.
    """
    parts = visit.parts
    if given.text is not None:
        body.check_text(given.text, parts.settings)
    labels = await _vocabulary(visit)

    def add() -> Vote:
        return parts.store.add_vote(
            key_id=visit.identity.key_id,
            label=given.label,
            labels=labels,
            prediction_id=given.named,
            text=given.text,
        )

    def add_when_written() -> Vote:
        try:
            return add()
        except UnknownPredictionError:
            # The prediction may be a moment old and not yet written.
            if not parts.recorder.flush(_FLUSH_SECONDS):
                raise database_away() from None
            return add()

    try:
        vote = await _in_database(add_when_written)
    except FeedbackError as error:
        raise _refused(error) from error
    outcome = "created" if vote.created else "repeated"
    parts.metrics.feedback.labels(outcome if vote.known else "unknown_label").inc()
    return VoteAnswer(feedback_id=vote.id, created=vote.created, known=vote.known, label=vote.label)


async def _keep_or_error(visit: Visit, given: VoteBody) -> VoteAnswer | ErrorAnswer:
    """Store one feedback item of several, or return its error.

    Raises:
        GatewayError: the database is unavailable; all items are refused.
    """
    try:
        return await _keep(visit, given)
    except GatewayError as error:
        if error.status_code == 503:
            raise
        refusal = error_body(error.code, error.message, visit.log.request_id)
        return ErrorAnswer.model_validate(refusal)


async def _vocabulary(visit: Visit) -> tuple[str, ...]:
    """Return the labels of the stable version; empty when unknown."""
    state = visit.parts.rollout.state
    version = None if state is None else state.stable
    return await asyncio.to_thread(visit.parts.files.labels, version)


async def _in_database(work: Callable[[], _Result]) -> _Result:
    """Run database work in a thread.

    Raises:
        GatewayError: the database is unavailable.
    """
    try:
        return await asyncio.to_thread(work)
    except SQLAlchemyError as error:
        raise database_away() from error


def _refused(error: FeedbackError) -> GatewayError:
    status = 404 if isinstance(error, UnknownPredictionError) else 422
    return GatewayError(status, error.code, str(error))


def _texts(selection: Selection, state: State, limit: int) -> list[FeedbackText]:
    chosen = [(_USABLE, each) for each in selection.examples]
    chosen += [(each.reason, each) for each in selection.left_out]
    wanted = [(name, each) for name, each in chosen if state in (_ALL, name)]
    wanted.sort(key=lambda pair: -pair[1].first_vote)
    return [FeedbackText(**dataclasses.asdict(each), state=name) for name, each in wanted[:limit]]
