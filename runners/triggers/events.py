"""What the watcher tells."""

import dataclasses
from collections.abc import Mapping
from typing import Any

ROLLOUT = "rollout"
RUN = "run"
DECISION = "decision"
ERROR = "error"
WATCH = "watch"


@dataclasses.dataclass(frozen=True)
class Event:
    """One thing that happened.

    Attributes:
        kind: of the constants above.
        created: when, seconds since 1970.
        sentence: for people.
        details: for programs; JSON types.
    """

    kind: str
    created: float
    sentence: str
    details: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "event": self.kind,
            "created": self.created,
            "sentence": self.sentence,
            "details": dict(self.details),
        }
