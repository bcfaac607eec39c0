import pytest

from modules.contract.errors import UserError
from pipeline.schedule import check_schedule, last_time

MIDNIGHT = 1_772_323_200.0  # Sunday 2026-03-01 00:00 UTC


@pytest.mark.parametrize("expression", ["@daily", "*/5 * * * *", "0 0 29 2 *"])
def test_legal_schedules(expression: str) -> None:
    check_schedule(expression)
    assert last_time(expression, MIDNIGHT) <= MIDNIGHT


@pytest.mark.parametrize("expression", ["61 * * * *", "0 0 31 2 *", "@sometimes", "a b c d e"])
def test_impossible_schedules_are_refused(expression: str) -> None:
    with pytest.raises(UserError, match=r"triggers\.schedule: must be a cron expression"):
        check_schedule(expression)
