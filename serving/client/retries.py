"""Retries with exponential backoff, within the deadline of a call."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import tenacity

from serving.client.errors import ClientError, DeadlineExceededError
from serving.protocol.errors import Code

_Answer = TypeVar("_Answer")

#: Pauses are random, up to 0.1 s, 0.2 s, 0.4 s ..., so that callers that failed at the same time
#: do not retry at the same time.
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 5.0


class Deadline:
    """A point in time by which all attempts of a call must finish.

    Args:
        seconds: time from now; None for no limit.
    """

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self._end = None if seconds is None else time.monotonic() + seconds

    def remaining(self) -> float | None:
        """Return the seconds left, at least 0; None for no limit."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())

    def error(self, url: str) -> DeadlineExceededError:
        """Return the exception to raise after the deadline."""
        return DeadlineExceededError(f"no complete response from {url} within {self.seconds:g} s")


async def with_retries(
    attempt: Callable[[], Awaitable[_Answer]], *, retries: int, deadline: Deadline, url: str
) -> _Answer:
    """Call ``attempt`` until it succeeds, with at most ``retries`` further attempts.

    Only ``UNAVAILABLE`` is retried, with which a server or proxy says that it did not process the
    call. Pauses grow exponentially with jitter and are at least as long as the server asks
    (Retry-After). If a pause would end after the deadline, the call fails at once.

    Args:
        attempt: function that makes one attempt.
        retries: number of further attempts; 0 for none.
        deadline: deadline for all attempts and pauses together.
        url: server URL for error messages.

    Returns:
        The result of the successful attempt.

    Raises:
        ClientError: the error of the last attempt; ``DeadlineExceededError`` if the deadline passed
            during an attempt.
    """
    backoff = tenacity.wait_random_exponential(_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS)

    def pause(state: tenacity.RetryCallState) -> float:
        return max(backoff(state), _asked_for(state) or 0.0)

    stop: tenacity.stop.stop_base = tenacity.stop_after_attempt(retries + 1)
    if (remaining := deadline.remaining()) is not None:
        stop |= tenacity.stop_before_delay(remaining)
    retrying = tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception(_can_be_tried_again),
        wait=pause,
        stop=stop,
        reraise=True,
    )

    async def attempt_in_time() -> _Answer:
        try:
            async with asyncio.timeout(deadline.remaining()):
                return await attempt()
        except TimeoutError as error:
            raise deadline.error(url) from error

    return await retrying(attempt_in_time)


def _can_be_tried_again(error: BaseException) -> bool:
    return isinstance(error, ClientError) and error.code is Code.UNAVAILABLE


def _asked_for(state: tenacity.RetryCallState) -> float | None:
    error = state.outcome.exception() if state.outcome else None
    return error.retry_after_seconds if isinstance(error, ClientError) else None
