"""Policies that choose which versions on disk are served. No I/O."""

import dataclasses
from collections.abc import Iterable
from typing import Any


@dataclasses.dataclass(frozen=True)
class Latest:
    """The versions with the greatest numbers.

    Attributes:
        count: number of versions; 0 means 1, as in TensorFlow Serving.
    """

    count: int = 1

    def choose(self, versions: Iterable[int]) -> set[int]:
        """Choose the versions to serve."""
        return set(sorted(versions, reverse=True)[: max(self.count, 1)])


@dataclasses.dataclass(frozen=True)
class All:
    """All versions."""

    def choose(self, versions: Iterable[int]) -> set[int]:
        """Choose the versions to serve."""
        return set(versions)


@dataclasses.dataclass(frozen=True)
class Specific:
    """Versions by number.

    Attributes:
        versions: version numbers.
    """

    versions: frozenset[int]

    def choose(self, versions: Iterable[int]) -> set[int]:
        """Choose the versions to serve."""
        return set(self.versions).intersection(versions)


VersionPolicy = Latest | All | Specific


def from_proto(policy: Any) -> VersionPolicy:
    """Convert a ``ServableVersionPolicy`` (file_system_storage_path_source.proto).

    Args:
        policy: the message; without a choice, the policy is the latest version.
    """
    choice = policy.WhichOneof("policy_choice")
    if choice == "all":
        return All()
    if choice == "specific":
        return Specific(frozenset(policy.specific.versions))
    return Latest(policy.latest.num_versions if choice == "latest" else 1)
