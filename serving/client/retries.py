"""Tries a call again while that can help, and never after its deadline."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import tenacity

from serving.client.errors import ClientError, DeadlineExceededError
from serving.protocol.errors import Code

_Answer = TypeVar("_Answer")

#: Pauses are drawn between 0 and 0.1 s, 0.2 s, 0.4 s ..., so that callers that failed together do
#: not come back together.
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 5.0


class Deadline:
    """A point in time that every attempt of a call shares.

    Args:
        seconds: from now; None is never.
    """

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self._end = None if seconds is None else time.monotonic() + seconds

    def remaining(self) -> float | None:
        """Seconds left, never below 0; None has no end."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())

    def error(self, url: str) -> DeadlineExceededError:
        """What to raise when it has passed."""
        return DeadlineExceededError(f"no whole answer from {url} within {self.seconds:g} s")


async def with_retries(
    attempt: Callable[[], Awaitable[_Answer]], *, retries: int, deadline: Deadline, url: str
) -> _Answer:
    """Call ``attempt`` until it answers, and at most ``retries`` times more than once.

    ``UNAVAILABLE`` alone is tried again: the server, or a proxy, says that it did not take the
    call. Pauses grow exponentially with jitter and are never shorter than the server asks
    (Retry-After). A pause that would end after the deadline is not begun.

    Args:
        attempt: one attempt.
        retries: 0 tries once.
        deadline: of all attempts and pauses together; each attempt is cut off there.
        url: named in the error.

    Raises:
        ClientError: the last attempt's; ``DeadlineExceededError`` when time ran out in one.
    """
    backoff = tenacity.wait_random_exponential(_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS)

    def pause(state: tenacity.RetryCallState) -> float:
        return max(backoff(state), _asked_for(state) or 0.0)

    retrying = tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception(_can_be_tried_again),
        wait=pause,
        stop=tenacity.stop_after_attempt(retries + 1) | _StopWhenLate(deadline),
        reraise=True,
    )

    async def attempt_in_time() -> _Answer:
        try:
            async with asyncio.timeout(deadline.remaining()):
                return await attempt()
        except TimeoutError as error:
            raise deadline.error(url) from error

    return await retrying(attempt_in_time)


class _StopWhenLate(tenacity.stop.stop_base):
    """Stop where the next pause would end after the deadline."""

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline

    def __call__(self, state: tenacity.RetryCallState) -> bool:
        remaining = self._deadline.remaining()
        return remaining is not None and state.upcoming_sleep >= remaining


def _can_be_tried_again(error: BaseException) -> bool:
    return isinstance(error, ClientError) and error.code is Code.UNAVAILABLE


def _asked_for(state: tenacity.RetryCallState) -> float | None:
    error = state.outcome.exception() if state.outcome else None
    return error.retry_after_seconds if isinstance(error, ClientError) else None
