"""Which recent texts are looked at."""

from sqlalchemy import ColumnElement, func, select

from serving.records.database import Database
from serving.records.tables import OK, PredictionRow

#: Parameters that any SQLite takes in one statement.
_IDS_AT_ONCE = 500


def count_texts(database: Database, since: float, until: float) -> tuple[int, int]:
    """How much traffic there was.

    Args:
        database: the gateway's.
        since: seconds since 1970.
        until: likewise, not included.

    Returns:
        Different texts that were answered, and how many of these were kept.

    Raises:
        SQLAlchemyError: the database failed or is away.
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
    """Texts that were answered, each once, drawn evenly from all different ones.

    A client that repeats itself counts once. The draw takes the texts whose identities, which are
    SHA-256 digests, are the smallest: as good as chance, the same in every process, and mostly the
    same from one look to the next, so that few have to be described anew.

    Args:
        database: the gateway's.
        since: seconds since 1970.
        until: likewise, not included.
        limit: texts at most.

    Raises:
        SQLAlchemyError: the database failed or is away.
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
