"""Cron schedules in UTC: validation, and the last time that has passed."""

import datetime

from modules.contract.errors import UserError


def check_schedule(expression: str, key: str = "triggers.schedule") -> None:
    """Refuse an expression that names no time.

    Args:
        expression: cron, in UTC; "" is none.
        key: where it stands, for the error.

    Raises:
        UserError: names the key, what is legal and what was received.
    """
    if not expression:
        return
    from croniter import CroniterError  # type: ignore[import-untyped]

    try:
        last_time(expression, 0.0)
    except CroniterError as error:
        raise UserError(
            f'{key}: legal is a cron expression in UTC, such as "0 3 * * 1" for Mondays '
            f"at three, or @daily; received {expression!r} ({error})"
        ) from error


def last_time(expression: str, now: float) -> float:
    """The last time of a cron expression that is not after ``now``.

    Raises:
        CroniterError: the expression names no time.
    """
    from croniter import croniter

    # croniter looks strictly before its start, which it takes in whole seconds.
    start = datetime.datetime.fromtimestamp(int(now) + 1, datetime.UTC)
    return float(croniter(expression, start).get_prev(float))
