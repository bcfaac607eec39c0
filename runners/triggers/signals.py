"""What a trigger saw."""

import dataclasses
from collections.abc import Mapping
from typing import Any

SCHEDULE = "schedule"
FEEDBACK = "feedback"
ACCURACY = "accuracy"
DRIFT = "drift"
NEW_DATA = "new_data"
RETRY = "retry"

#: Triggers that help only when there is something new to learn from.
NEEDS_EXAMPLES = frozenset({ACCURACY, DRIFT})


@dataclasses.dataclass(frozen=True)
class Signal:
    """What a trigger saw in one look.

    Attributes:
        name: of the trigger.
        fired: whether it asks for a run.
        sentence: what it saw, for people.
        details: the figures, and what the next look needs; JSON types.
        error: why it could not look, one line; "" when it could. Such a signal has not fired.
    """

    name: str
    fired: bool
    sentence: str
    details: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    error: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As the record of a decision keeps it."""
        error = {"error": self.error} if self.error else {}
        return {**self.details, "fired": self.fired, "sentence": self.sentence, **error}


def failed(name: str, error: str, details: Mapping[str, Any] | None = None) -> Signal:
    """The signal of a trigger that could not look."""
    return Signal(name, False, f"cannot look: {error}", details or {}, error)
