"""Which of the versions on disk are to be served. No I/O."""

import dataclasses
from collections.abc import Iterable
from typing import Any


@dataclasses.dataclass(frozen=True)
class Latest:
    """The versions with the greatest numbers.

    Attributes:
        count: how many; 0 means 1, as in TensorFlow Serving.
    """

    count: int = 1

    def choose(self, versions: Iterable[int]) -> set[int]:
        """The versions to serve, of those there are."""
        return set(sorted(versions, reverse=True)[: max(self.count, 1)])


@dataclasses.dataclass(frozen=True)
class All:
    """Every version."""

    def choose(self, versions: Iterable[int]) -> set[int]:
        """The versions to serve, of those there are."""
        return set(versions)


@dataclasses.dataclass(frozen=True)
class Specific:
    """Versions by number.

    Attributes:
        versions: their numbers.
    """

    versions: frozenset[int]

    def choose(self, versions: Iterable[int]) -> set[int]:
        """The versions to serve, of those there are."""
        return set(self.versions).intersection(versions)


VersionPolicy = Latest | All | Specific


def from_proto(policy: Any) -> VersionPolicy:
    """The policy of a ``ServableVersionPolicy`` (file_system_storage_path_source.proto).

    Args:
        policy: the message; with no choice made it means the latest version.
    """
    choice = policy.WhichOneof("policy_choice")
    if choice == "all":
        return All()
    if choice == "specific":
        return Specific(frozenset(policy.specific.versions))
    return Latest(policy.latest.num_versions if choice == "latest" else 1)
