"""Reads recent texts from the gateway's database."""

from sqlalchemy import ColumnElement, func, select

from serving.records.database import Database
from serving.records.tables import OK, PredictionRow

#: Number of parameters that any SQLite accepts in one statement.
_IDS_AT_ONCE = 500


def count_texts(database: Database, since: float, until: float) -> tuple[int, int]:
    """Count the texts of a window.

    Args:
        database: the gateway's database.
        since: seconds since 1970.
        until: likewise, exclusive.

    Returns:
        The number of distinct classified texts, and of those whose text is stored.

    Raises:
        SQLAlchemyError: the database failed or is unavailable.
    """
    kept = func.count(func.distinct(PredictionRow.text_identity)).filter(
        PredictionRow.text.is_not(None)
    )
    every = func.count(func.distinct(PredictionRow.text_identity))
    query = select(every, kept).where(*_answered(since, until))
    with database.read() as session:
        row = session.execute(query).one()
        return int(row[0]), int(row[1])


def read_texts(database: Database, since: float, until: float, limit: int) -> list[str]:
    """Return a uniform sample of the distinct classified texts.

    Repeated texts count once. The sample is the texts with the smallest identities, which are
    SHA-256 digests: as good as random, the same in every process, and mostly the same from one
    check to the next, so that few texts have to be described again.

    Args:
        database: the gateway's database.
        since: seconds since 1970.
        until: likewise, exclusive.
        limit: maximum number of texts.

    Raises:
        SQLAlchemyError: the database failed or is unavailable.
    """
    drawn = (
        select(func.min(PredictionRow.id))
        .where(*_answered(since, until), PredictionRow.text.is_not(None))
        .group_by(PredictionRow.text_identity)
        .order_by(PredictionRow.text_identity)
        .limit(limit)
    )
    with database.read() as session:
        ids = list(session.scalars(drawn))
        texts: dict[str, str] = {}
        for start in range(0, len(ids), _IDS_AT_ONCE):
            query = select(PredictionRow.id, PredictionRow.text)
            some = query.where(PredictionRow.id.in_(ids[start : start + _IDS_AT_ONCE]))
            texts |= {name: text for name, text in session.execute(some) if text is not None}
    return [texts[name] for name in ids if name in texts]


def _answered(since: float, until: float) -> list[ColumnElement[bool]]:
    return [
        PredictionRow.created >= since,
        PredictionRow.created < until,
        PredictionRow.status == OK,
    ]
