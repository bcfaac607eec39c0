"""Fingerprint of an export, and the decision whether it is pushed. Standard library only.

Each version folder carries a manifest that is written before the folder becomes visible, so no
version is ever without one.
"""

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping

from modules.contract.pushed_model import MANIFEST_FILE, Manifest

#: Custom property of a baseline: 1 for none, on platforms that have no empty output.
ABSENT = "absent"


@dataclasses.dataclass(frozen=True)
class PushResult:
    """What a push did.

    Attributes:
        pushed: whether the version stands because of this model artifact.
        reason: one sentence.
        version: the folder's name; None when nothing of this artifact stands.
        destination: the folder; None likewise.
        fingerprint: of the model.
    """

    pushed: bool
    reason: str
    version: int | None = None
    destination: str | None = None
    fingerprint: str | None = None


def fingerprint(files: Iterable[tuple[str, bytes]]) -> str:
    """SHA-256 over names and SHA-256 of contents, in order of names; the manifest is left out.

    Args:
        files: path within the export, with "/" between folders, and the content's SHA-256.
    """
    digest = hashlib.sha256()
    for name, content in sorted(files):
        if name != MANIFEST_FILE:
            digest.update(f"{name}\0{content.hex()}\n".encode())
    return digest.hexdigest()


def outcome_of_standing(
    standing: Mapping[int, Manifest], wanted: str, source: str, base: str
) -> PushResult | None:
    """What to say when the model already stands; None when it does not and is to be pushed.

    A model that stands as the newest version because of this very ``Model`` artifact counts as
    pushed: an earlier push was made and its record was lost, as when the Pusher is killed after
    the folder is in place. Any other identical model pushes nothing.

    Args:
        standing: version -> its manifest; of every version that is there.
        wanted: the model's fingerprint.
        source: URI of its ``Model`` artifact.
        base: the directory of the versions.
    """
    same = [version for version, manifest in standing.items() if manifest.fingerprint == wanted]
    if not same:
        return None
    version, newest = max(same), max(standing)
    if version < newest:
        return PushResult(
            pushed=False,
            reason=f"the model is identical to version {version}, which still stands below version "
            f"{newest}; to go back to it, move {newest} out of {base}",
            fingerprint=wanted,
        )
    if standing[version].source != source:
        return PushResult(
            pushed=False,
            reason=f"the model is identical to version {version}, which already stands",
            fingerprint=wanted,
        )
    return PushResult(
        pushed=True,
        reason=f"this model already stands as version {version}; nothing was copied",
        version=version,
        destination=f"{base}/{version}",
        fingerprint=wanted,
    )
