"""Trace of a prediction: prediction -> version -> training run -> data spans -> code."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Select, func, or_, select

from modules.contract.errors import UserError
from pipeline.config import Config
from runners.lineage.version_origin import Origin, VersionOrigins
from serving.records.database import Database
from serving.records.tables import PredictionRow

#: Maximum number of predictions of a request that are shown; a stream may have a million.
SHOWN = 20
_SHORTEST_START = 6
#: Columns of ``PredictionRow`` that are printed as JSON: of the call, and of its answer.
_CALL = ("id", "position", "created", "model_version", "role", "status", "latency_ms")
_ANSWER = ("label", "score", "characters")


@dataclasses.dataclass(frozen=True)
class Trace:
    """One request, and the origins of its predictions.

    Attributes:
        request_id: id of the request.
        predictions: the prediction that was asked for, or the first ``SHOWN`` of the request.
        count: number of predictions.
        origins: origin of each version that took part, by version number.
        missing: links of the chain that cannot be followed, and why.
    """

    request_id: str
    predictions: Sequence[PredictionRow]
    count: int
    origins: Sequence[Origin]
    missing: Sequence[str]

    def as_json(self, *, show_text: bool) -> dict[str, Any]:
        """Return JSON types."""
        columns = (*_CALL, *_ANSWER, *(["text"] if show_text else []))
        return {
            "request_id": self.request_id,
            "count": self.count,
            "predictions": [
                {name: getattr(row, name) for name in columns} for row in self.predictions
            ],
            "versions": [dataclasses.asdict(origin) for origin in self.origins],
            "missing": list(self.missing),
        }


def read_trace(config: Config, database: Database, wanted: str) -> Trace:
    """Trace a prediction or a request to its training runs.

    Args:
        config: gives the push directory and the metadata of the runs.
        database: the gateway's database of predictions.
        wanted: id of a prediction or a request, or the beginning of a request's id.

    Raises:
        UserError: there is none, or several request ids begin like that.
    """
    predictions, count, versions = _find(database, wanted.strip())
    origins = VersionOrigins(config)
    missing = []
    if None in versions:
        missing.append("no version answered: the model server could not be reached")
    if any(each.text is None for each in predictions):
        missing.append("the text was not stored: gateway.store_texts was false")
    return Trace(
        request_id=predictions[0].request_id,
        predictions=predictions,
        count=count,
        origins=[origins.read(version) for version in sorted(v for v in versions if v is not None)],
        missing=missing,
    )


def _find(database: Database, wanted: str) -> tuple[list[PredictionRow], int, set[int | None]]:
    # A failed attempt of a canary is a row next to the answer, with the same request and position.
    with database.read() as session:
        rows = list(session.scalars(select(PredictionRow).where(PredictionRow.id == wanted)))
        if rows:
            return rows, 1, {row.model_version for row in rows}
        request = _request(session.scalars, wanted)
        own = PredictionRow.request_id == request
        ordered = (
            select(PredictionRow).where(own).order_by(PredictionRow.position, PredictionRow.id)
        )
        rows = list(session.scalars(ordered.limit(SHOWN)))
        count = session.scalar(select(func.count()).select_from(PredictionRow).where(own)) or 0
        versions = session.scalars(select(PredictionRow.model_version).where(own).distinct())
        return rows, count, set(versions)


def _request(scalars: Callable[[Select[Any]], Any], wanted: str) -> str:
    """Return the id of the request that an id or its beginning selects.

    Raises:
        UserError: none or several requests match.
    """
    start = PredictionRow.request_id.startswith(wanted, autoescape=True)
    meant = or_(PredictionRow.request_id == wanted, start)
    if len(wanted) < _SHORTEST_START:
        meant = PredictionRow.request_id == wanted
    found = list(scalars(select(PredictionRow.request_id).where(meant).distinct().limit(2)))
    if wanted in found:
        return wanted
    if len(found) > 1:
        raise UserError(f"several requests begin with {wanted!r}; give more of the request id")
    if not found:
        raise UserError(
            f"there is no prediction or request {wanted!r}; give at least {_SHORTEST_START} "
            "characters of the request id of a response; predictions are kept for "
            "gateway.retention_days"
        )
    return str(found[0])
