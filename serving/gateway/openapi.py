"""What the OpenAPI document says beyond what FastAPI finds out by itself.

Routes read their bodies themselves, after the caller was let in and within limits, so the document
is told of the bodies here.
"""

from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, TypeAdapter

from serving.gateway.schemas import (
    ErrorAnswer,
    PredictBody,
    ReviewBody,
    VoteBatchBody,
    VoteBody,
)

_COMPONENTS = "#/components/schemas/"
_BODIES = (PredictBody, VoteBody, VoteBatchBody, ReviewBody)
_WORDS = {
    400: "No JSON.",
    401: "No API key, or one that is unknown or disabled.",
    403: "The key lacks the scope.",
    404: "There is no such thing.",
    408: "The body took too long.",
    409: "It was changed at the same time.",
    413: "The body is too large.",
    415: "Another content type.",
    422: "Not what the schema says, or beyond a limit.",
    429: "Too many requests; Retry-After says when to come again.",
    502: "The model server failed.",
    503: "The model server or the database is away; Retry-After says when to come again.",
    504: "The model server did not answer in time.",
}
_LINE = {
    "type": "object",
    "properties": {
        "line": {"type": "integer", "description": "Number of the line, from 1."},
        "id": {"description": "The line's own id, when it had one."},
        "prediction_id": {"type": "string"},
        "label": {"type": "string"},
        "score": {"type": "number"},
        "scores": {"type": "object", "additionalProperties": {"type": "number"}},
        "model_version": {"type": "integer"},
        "error": {"type": "object"},
    },
    "required": ["line"],
}

#: Of ``/v1/predict/stream``.
STREAM_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/jsonl": {
                "schema": {"type": "string", "description": "JSON values, one a line."},
                "example": '"A warm room."\n{"id": 7, "text": "Two hours I will not get back."}\n',
            }
        },
    }
}
STREAM_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "An answer for each line that is not blank.",
        "content": {"application/jsonl": {"schema": {"type": "string"}, "x-line": _LINE}},
    }
}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The errors of a route."""
    return {status: {"model": ErrorAnswer, "description": _WORDS[status]} for status in statuses}


def body(*models: type[BaseModel]) -> dict[str, Any]:
    """A JSON body that is one of the models."""
    references = [{"$ref": _COMPONENTS + model.__name__} for model in models]
    schema = references[0] if len(references) == 1 else {"anyOf": references}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def document(application: FastAPI) -> dict[str, Any]:
    """The OpenAPI document; made once."""
    if application.openapi_schema is None:
        made = get_openapi(
            title=application.title,
            version=application.version,
            description=application.description,
            routes=application.routes,
        )
        components = made.setdefault("components", {})
        components.setdefault("schemas", {}).update(_schemas(_BODIES))
        components["securitySchemes"] = {
            "key": {"type": "http", "scheme": "bearer"},
            "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        }
        made["security"] = [{"key": []}, {"header": []}, {}]
        application.openapi_schema = made
    return application.openapi_schema


def _schemas(models: Iterable[type[BaseModel]]) -> dict[str, Any]:
    template = _COMPONENTS + "{model}"
    found: dict[str, Any] = {}
    for model in models:
        schema = TypeAdapter(model).json_schema(ref_template=template)
        found |= schema.pop("$defs", {})
        found[model.__name__] = schema
    return found
