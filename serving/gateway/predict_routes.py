"""``/v1/predict`` and ``/v1/predict/stream``."""

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import Response

from serving.client import ClientError
from serving.gateway import body, openapi
from serving.gateway.access import Visit, needs
from serving.gateway.errors import from_model_server
from serving.gateway.schemas import PredictAnswer, PredictBody, PredictionAnswer
from serving.gateway.service import Answers
from serving.gateway.service import Request as Texts
from serving.gateway.stream import STREAM_TYPES, StreamedAnswers
from serving.records.api_keys import PREDICT

router = APIRouter(tags=["predict"])

_predict_body: TypeAdapter[PredictBody] = TypeAdapter(PredictBody)
Predicting = Annotated[Visit, Depends(needs(PREDICT))]


@router.post(
    "/v1/predict",
    summary="Classify texts",
    responses=openapi.errors(400, 401, 403, 408, 413, 415, 422, 429, 502, 503, 504),
    openapi_extra=openapi.body(PredictBody),
)
async def predict(request: Request, visit: Predicting) -> PredictAnswer:
    """Classify one or several texts."""
    settings = visit.parts.settings
    given = await body.read_json(request, _predict_body, settings)
    texts = given.all_texts()
    body.check_texts(texts, settings)
    visit.log.texts = len(texts)
    visit.log.sample = texts if settings.log_texts else None
    asked = Texts(visit.caller, visit.log.request_id, texts)
    try:
        answers = await visit.parts.service.answer(asked)
    except ClientError as error:
        raise from_model_server(error) from error
    visit.log.model_version, visit.log.role = answers.version, answers.role
    return _answer(asked, answers)


@router.post(
    "/v1/predict/stream",
    summary="Classify a stream of texts",
    response_class=Response,
    responses=openapi.errors(401, 403, 415, 429) | openapi.STREAM_ANSWER,
    openapi_extra=openapi.STREAM_BODY,
)
async def predict_stream(request: Request, visit: Predicting) -> StreamedAnswers:
    """Classify any number of texts, one per line, while they arrive.

    A line is a JSON string, or an object with ``text`` and an optional ``id``, which is returned.
    Each line gets a result with its line number, in order; a line that cannot be classified gets
    an error instead. Read results while you send lines: the gateway does not buffer them.
    """
    body.check_type(request, STREAM_TYPES)
    return StreamedAnswers(request, visit)


def _answer(asked: Texts, answers: Answers) -> PredictAnswer:
    return PredictAnswer.model_construct(
        request_id=asked.id,
        model_version=answers.version,
        role=answers.role,  # type: ignore[arg-type]  # a str in the database
        stored=answers.stored,
        predictions=[
            PredictionAnswer.model_construct(
                id=asked.prediction_id(index),
                label=answer.label,
                score=answer.score,
                scores=answer.scores,
            )
            for index, answer in enumerate(answers.predictions)
        ],
    )
