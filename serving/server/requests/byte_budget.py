"""Budget for the bytes of all running calls together."""

import threading

from serving.protocol.errors import Code, ServingError


class ByteBudget:
    """Number of bytes that running calls may take together. Thread-safe.

    Args:
        limit: maximum number of bytes.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._reserved = 0

    @property
    def reserved(self) -> int:
        """Bytes that are reserved at present."""
        return self._reserved

    def reserve(self, size: int) -> "Reservation":
        """Reserve bytes for a call.

        Raises:
            ServingError: ``RESOURCE_EXHAUSTED``: other calls take too many. An unused budget
                accepts a call of any size.
        """
        with self._lock:
            if self._reserved and self._reserved + size > self._limit:
                raise ServingError(
                    Code.RESOURCE_EXHAUSTED,
                    f"Running calls take {self._reserved} of {self._limit} bytes, and this one "
                    f"needs {size}; try again later",
                )
            self._reserved += size
        return Reservation(self, size)

    def give_back(self, size: int) -> None:
        """Return reserved bytes to the budget."""
        with self._lock:
            self._reserved -= size


class Reservation:
    """Bytes that a call has reserved.

    Args:
        budget: budget that they come from.
        size: number of bytes.
    """

    def __init__(self, budget: ByteBudget, size: int) -> None:
        self._budget, self._size = budget, size

    def release(self) -> None:
        """Return the bytes to the budget; further calls have no effect."""
        size, self._size = self._size, 0
        self._budget.give_back(size)
