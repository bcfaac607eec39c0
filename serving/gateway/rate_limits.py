"""Token buckets, one for each caller."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable

#: Callers remembered; the longest unseen is forgotten, and begins with a full bucket.
_MAX_CALLERS = 10_000
#: Seconds' worth of requests that may come at once.
_BURST_SECONDS = 10.0


class RateLimiter:
    """Lets each caller make so many requests a minute, a burst of ten seconds' worth at once.

    Args:
        per_minute: requests; 0 is no limit.
        clock: seconds, never going back.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = per_minute / 60
        self._burst = max(1.0, self._rate * _BURST_SECONDS)
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, caller: str) -> float:
        """Take one request of a caller.

        Returns:
            0 when it may go on; else the seconds until it may come again.
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
        """Take one request of a caller when there is one to take."""
        while pause := self.take(caller):
            await asyncio.sleep(pause)
