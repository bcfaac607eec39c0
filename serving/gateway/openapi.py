"""The parts of the OpenAPI document that FastAPI cannot derive.

Routes read their bodies themselves, after authentication and within limits, so the bodies are
declared here.
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
    400: "The body is not JSON, or incomplete.",
    401: "The API key is missing, unknown or disabled.",
    403: "The API key lacks the required scope.",
    404: "The prediction or text does not exist.",
    408: "The body did not arrive in time.",
    409: "The resource was changed at the same time.",
    413: "The body is too large.",
    415: "The content type is not supported.",
    422: "The request does not match the schema, or exceeds a limit.",
    429: "Too many requests; Retry-After holds the seconds to wait.",
    502: "The model server failed.",
    503: "The model server or the database is unavailable; Retry-After holds the seconds to wait.",
    504: "The model server did not answer in time.",
}
_LINE = {
    "type": "object",
    "properties": {
        "line": {"type": "integer", "description": "Line number, from 1."},
        "id": {"description": "The id sent with the line, if any."},
        "prediction_id": {"type": "string"},
        "label": {"type": "string"},
        "score": {"type": "number"},
        "scores": {"type": "object", "additionalProperties": {"type": "number"}},
        "model_version": {"type": "integer"},
        "error": {"type": "object"},
    },
    "required": ["line"],
}

#: Request body of ``/v1/predict/stream``.
STREAM_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/jsonl": {
                "schema": {"type": "string", "description": "One JSON value per line."},
                "example": '"A warm room."\n{"id": 7, "text": "Two hours I will not get back."}\n',
            }
        },
    }
}
STREAM_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "One result for each line that is not blank.",
        "content": {"application/jsonl": {"schema": {"type": "string"}, "x-line": _LINE}},
    }
}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the error responses of a route."""
    return {status: {"model": ErrorAnswer, "description": _WORDS[status]} for status in statuses}


def body(*models: type[BaseModel]) -> dict[str, Any]:
    """Return the declaration of a JSON body that matches one of the models."""
    references = [{"$ref": _COMPONENTS + model.__name__} for model in models]
    schema = references[0] if len(references) == 1 else {"anyOf": references}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def document(application: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document, built on the first call."""
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
