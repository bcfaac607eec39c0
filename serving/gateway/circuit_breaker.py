"""Leaves a failing server alone for a while, so that it can recover and callers need not wait.

Closed lets calls through and counts failures in a row; open refuses them; after a pause one call
is let through (half-open), and its outcome closes or opens the circuit again. See M. Nygard,
"Release It!", 2nd edition, section 5.2.
"""

import time
from collections.abc import Callable
from typing import Literal

State = Literal["closed", "open", "half-open"]


class CircuitBreaker:
    """One circuit. Not thread-safe: it lives in one event loop.

    Args:
        failures: in a row that open it.
        seconds: that it stays open, and that a trial call may take to tell its outcome.
        clock: seconds, never going back.
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
        """Where it stands."""
        if self._opened is None:
            return "closed"
        return "open" if self._clock() - self._opened < self._seconds else "half-open"

    def allow(self) -> bool:
        """Whether a call may go. Who was allowed must tell the outcome, or ``release``."""
        if self.state == "closed":
            return True
        now = self._clock()
        if self.state == "open" or (self._trial is not None and now - self._trial < self._seconds):
            return False
        self._trial = now
        return True

    def retry_after(self) -> float:
        """Seconds until a call may go, as far as that is known."""
        since = self._opened if self._trial is None else self._trial
        return 0.0 if since is None else max(0.0, self._seconds - (self._clock() - since))

    def succeeded(self) -> None:
        """A call was answered."""
        self._failed, self._opened, self._trial = 0, None, None

    def failed(self) -> None:
        """A call was not answered."""
        self._failed += 1
        if self._opened is not None or self._failed >= self._limit:
            self._opened, self._trial = self._clock(), None

    def release(self) -> None:
        """A call was given up without an outcome: its caller left."""
        self._trial = None
