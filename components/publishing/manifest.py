"""Fingerprint of an export, and the decision whether to push it. Standard library only.

Each version folder has a manifest that is written before the folder becomes visible, so no version
is ever without one.
"""

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping
from typing import Self

from modules.contract.pushed_model import MANIFEST_FILE, Manifest

#: Custom property of a baseline: 1 if there is none, on platforms without empty outputs.
ABSENT = "absent"
#: TFX's custom properties of a PushedModel; the first is 1 if its execution pushed a model.
PUSHED = "pushed"
PUSHED_DESTINATION = "pushed_destination"
PUSHED_VERSION = "pushed_version"


@dataclasses.dataclass(frozen=True)
class PushResult:
    """Result of a push.

    Attributes:
        pushed: whether the newest version comes from this ``Model`` artifact.
        reason: one sentence.
        version: the folder's name; None if ``pushed`` is false.
        destination: the folder; None if ``pushed`` is false.
        fingerprint: the model's fingerprint; None if it was not computed.
    """

    pushed: bool
    reason: str
    version: int | None = None
    destination: str | None = None
    fingerprint: str | None = None

    @classmethod
    def of(cls, manifest: Manifest, destination: str) -> Self:
        """Return the result of a push that made a new version."""
        reason = f"pushed as version {manifest.version}"
        return cls(True, reason, manifest.version, destination, manifest.fingerprint)


def fingerprint(files: Iterable[tuple[str, bytes]]) -> str:
    """Return the SHA-256 over all files' names and SHA-256 digests, except the manifest's.

    Args:
        files: in any order, the path within the export, with "/" between folders, and the content's
            SHA-256.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for name, content in sorted(files):
        if name != MANIFEST_FILE:
            digest.update(f"{name}\0{content.hex()}\n".encode())
    return digest.hexdigest()


def outcome_if_pushed(
    existing: Mapping[int, Manifest], wanted: str, source: str, base: str
) -> PushResult | None:
    """Return the result for a model that is already pushed, or None if it has to be pushed.

    If the newest version is identical and comes from this same ``Model`` artifact, the model counts
    as pushed: an earlier push succeeded but its record was lost, for example because the Pusher was
    killed after the rename. Any other identical model is not pushed again.

    Args:
        existing: version -> its manifest, for every existing version.
        wanted: the model's fingerprint.
        source: URI of its ``Model`` artifact.
        base: the directory of the versions.
    """
    same = [version for version, manifest in existing.items() if manifest.fingerprint == wanted]
    if not same:
        return None
    version, newest = max(same), max(existing)
    if version < newest:
        return PushResult(
            pushed=False,
            reason=f"the model is identical to version {version}, which is older than version "
            f"{newest}; to roll back to it, move {newest} out of {base}",
            fingerprint=wanted,
        )
    if existing[version].source != source:
        return PushResult(
            pushed=False,
            reason=f"the model is identical to version {version}, which is already pushed",
            fingerprint=wanted,
        )
    return PushResult(
        pushed=True,
        reason=f"this model is already pushed as version {version}; nothing was copied",
        version=version,
        destination=f"{base}/{version}",
        fingerprint=wanted,
    )
