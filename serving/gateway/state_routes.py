"""``/v1/model``, ``/v1/decisions``, and routes for operations: health, readiness, metrics."""

import asyncio
import dataclasses
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from sqlalchemy import desc, select, text
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from serving.client import ClientError
from serving.gateway import metrics, openapi
from serving.gateway.access import Visit, needs, parts_of
from serving.gateway.errors import database_away
from serving.gateway.parts import Parts
from serving.gateway.schemas import DecisionAnswer, DecisionsAnswer, ModelAnswer
from serving.records.api_keys import PREDICT
from serving.records.database import Database
from serving.records.tables import DecisionRow, RolloutEventRow

router = APIRouter()

Reading = Annotated[Visit, Depends(needs(PREDICT))]


@router.get(
    "/v1/model",
    tags=["state"],
    summary="Show the deployed model",
    responses=openapi.errors(401, 403, 429, 503),
)
async def model(visit: Reading) -> ModelAnswer:
    """Return the deployed version, its metrics, and the state of the rollout."""
    parts = visit.parts
    try:
        available = await parts.calls.available()
    except (ClientError, TimeoutError):
        available = []
    state = parts.rollout.state
    version = next(iter(available), None) if state is None else state.stable
    known = await asyncio.to_thread(_known_of, parts, version)
    return ModelAnswer(
        model=parts.settings.model_name,
        version=version,
        available=available,
        rollout=None if state is None else dataclasses.asdict(state),
        **known,
    )


@router.get(
    "/v1/decisions",
    tags=["state"],
    summary="List decisions",
    responses=openapi.errors(401, 403, 422, 429, 503),
)
async def decisions(
    visit: Reading, limit: Annotated[int, Query(ge=1, le=200)] = 20
) -> DecisionsAnswer:
    """List why runs were started or not, and the steps of rollouts, newest first."""
    parts = visit.parts
    try:
        items = await asyncio.to_thread(
            _decisions, parts.database, parts.settings.model_name, limit
        )
    except SQLAlchemyError as error:
        raise database_away() from error
    return DecisionsAnswer(items=items)


@router.get("/healthz", tags=["machines"], summary="Liveness", response_class=PlainTextResponse)
async def healthz() -> str:
    """Answer "ok" while the process is running."""
    return "ok\n"


@router.get(
    "/readyz",
    tags=["machines"],
    summary="Readiness",
    response_model=dict[str, str],
    responses={503: {"model": dict[str, str], "description": "The gateway is not ready."}},
)
async def readyz(request: Request) -> Response:
    """Check that the model server and the database answer, and that the gateway is not draining."""
    parts = parts_of(request)
    found = {
        "model_server": await _model_server_state(parts),
        "database": await _database_state(parts),
        "gateway": "draining" if parts.draining else "ok",
    }
    ready = all(state == "ok" for state in found.values())
    return JSONResponse(found, 200 if ready else 503)


@router.get("/metrics", tags=["machines"], summary="Metrics", response_class=PlainTextResponse)
async def read_metrics(request: Request) -> Response:
    """Return the metrics in Prometheus text format."""
    return Response(parts_of(request).metrics.page(), media_type=metrics.CONTENT_TYPE)


def _known_of(parts: Parts, version: int | None) -> dict[str, Any]:
    return {
        "labels": list(parts.files.labels(version)),
        "facts": {} if version is None else parts.files.facts(version),
        "evaluation": {} if version is None else parts.read_evaluation(version),
    }


def _decisions(database: Database, model_name: str, limit: int) -> list[DecisionAnswer]:
    runs = select(DecisionRow).order_by(desc(DecisionRow.id)).limit(limit)
    steps = (
        select(RolloutEventRow)
        .where(RolloutEventRow.model == model_name)
        .order_by(desc(RolloutEventRow.id))
        .limit(limit)
    )
    with database.read() as session:
        items = [_of_run(row) for row in session.scalars(runs)]
        items += [_of_rollout(row) for row in session.scalars(steps)]
    return sorted(items, key=lambda item: item.created, reverse=True)[:limit]


def _of_run(row: DecisionRow) -> DecisionAnswer:
    return DecisionAnswer(
        kind="run",
        created=row.created,
        action="started" if row.started else "waited",
        reason=row.reason,
        triggers=list(row.triggers),
        by="watch",
    )


def _of_rollout(row: RolloutEventRow) -> DecisionAnswer:
    return DecisionAnswer(
        kind="rollout",
        created=row.created,
        action=row.action,
        reason=row.reason,
        version=row.version,
        by=row.by,
    )


async def _model_server_state(parts: Parts) -> str:
    try:
        return "ok" if await parts.calls.available() else "no version answers"
    except (ClientError, TimeoutError):
        return "away"


async def _database_state(parts: Parts) -> str:
    def ask() -> None:
        with parts.database.read() as session:
            session.execute(text("SELECT 1"))

    try:
        async with asyncio.timeout(parts.settings.timeout_seconds):
            await asyncio.to_thread(ask)
    except (SQLAlchemyError, TimeoutError):
        return "away"
    return "ok"
