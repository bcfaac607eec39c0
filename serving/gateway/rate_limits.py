"""Token buckets, one per caller."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable

#: Maximum callers remembered; the least recently seen is dropped and starts with a full bucket.
_MAX_CALLERS = 10_000
#: Size of a burst, in seconds' worth of requests.
_BURST_SECONDS = 10.0


class RateLimiter:
    """Limits the requests of each caller per minute, with bursts of ten seconds' worth.

    Args:
        per_minute: requests allowed; 0 means no limit.
        clock: monotonic seconds.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = per_minute / 60
        self._burst = max(1.0, self._rate * _BURST_SECONDS)
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, caller: str) -> float:
        """Count one request of a caller.

        Returns:
            0 when the request is allowed; else the seconds to wait.
        """
        if self._rate == 0:
            return 0.0
        now = self._clock()
        tokens, seen = self._buckets.pop(caller, (self._burst, now))
        tokens = min(self._burst, tokens + (now - seen) * self._rate)
        allowed = tokens >= 1
        self._buckets[caller] = (tokens - 1 if allowed else tokens, now)
        if len(self._buckets) > _MAX_CALLERS:
            self._buckets.popitem(last=False)
        return 0.0 if allowed else (1 - tokens) / self._rate

    async def wait(self, caller: str) -> None:
        """Wait until the caller may make a request, and count it."""
        while pause := self.take(caller):
            await asyncio.sleep(pause)
