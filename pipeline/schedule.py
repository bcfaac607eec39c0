"""Cron schedules in UTC: validation, and the most recent scheduled time."""

import datetime

from modules.contract.errors import UserError


def check_schedule(expression: str, key: str = "triggers.schedule") -> None:
    """Reject an expression that is malformed or never matches.

    Args:
        expression: cron expression in UTC; "" means no schedule and is accepted.
        key: config key of the expression, for the error message.

    Raises:
        UserError: the expression is malformed or never matches.
    """
    if not expression:
        return
    from croniter import CroniterError  # type: ignore[import-untyped]

    try:
        last_time(expression, 0.0)
    except CroniterError as error:
        raise UserError(
            f'{key}: must be a cron expression in UTC, such as "0 3 * * 1" for Mondays '
            f"at 3:00, or @daily; received {expression!r} ({error})"
        ) from error


def last_time(expression: str, now: float) -> float:
    """Return the most recent scheduled time that is not after ``now``.

    Args:
        expression: cron expression in UTC.
        now: Unix time in seconds.

    Returns:
        Unix time in seconds.

    Raises:
        CroniterError: the expression is malformed or never matches.
    """
    from croniter import croniter

    # get_prev returns a time strictly before its start, which croniter rounds to seconds.
    start = datetime.datetime.fromtimestamp(int(now) + 1, datetime.UTC)
    return float(croniter(expression, start).get_prev(float))
