"""A circuit breaker: pauses calls to a failing server so that it can recover and callers fail fast.

Closed lets calls through and counts consecutive failures; open refuses them; after a pause one
trial call is let through (half-open), and its outcome closes or opens the circuit again. See
M. Nygard, "Release It!", 2nd edition, section 5.2.
"""

import time
from collections.abc import Callable
from typing import Literal

State = Literal["closed", "open", "half-open"]


class CircuitBreaker:
    """One circuit. Not thread-safe: use it from one event loop.

    Args:
        failures: consecutive failures that open it.
        seconds: how long it stays open, and how long a trial call may take.
        clock: monotonic seconds.
    """

    def __init__(
        self, failures: int, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit = failures
        self._seconds = seconds
        self._clock = clock
        self._failed = 0
        self._opened: float | None = None
        self._trial: float | None = None

    @property
    def state(self) -> State:
        """The current state."""
        if self._opened is None:
            return "closed"
        return "open" if self._clock() - self._opened < self._seconds else "half-open"

    def allow(self) -> bool:
        """Return whether a call may start; report its outcome, or ``release`` it."""
        if self.state == "closed":
            return True
        now = self._clock()
        if self.state == "open" or (self._trial is not None and now - self._trial < self._seconds):
            return False
        self._trial = now
        return True

    def retry_after(self) -> float:
        """Return the seconds until a call may start, as far as known."""
        since = self._opened if self._trial is None else self._trial
        return 0.0 if since is None else max(0.0, self._seconds - (self._clock() - since))

    def succeeded(self) -> None:
        """Record a call that was answered."""
        self._failed, self._opened, self._trial = 0, None, None

    def failed(self) -> None:
        """Record a call that failed."""
        self._failed += 1
        if self._opened is not None or self._failed >= self._limit:
            self._opened, self._trial = self._clock(), None

    def release(self) -> None:
        """Record a call without an outcome: its caller disconnected."""
        self._trial = None
