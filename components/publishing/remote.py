"""Pushes to an object store: a URI that TFX's fileio reaches, or a mount such as ``/gcs/BUCKET``.

The guarantee is weaker than that of a local folder. An object store has no rename of folders, so a
version's files appear one by one; ``saved_model.pb`` comes last, and TensorFlow Serving does not
load a version without it. There is no lock: two pushes at once may choose the same version number,
so let one pipeline at a time push to a folder. A push that is killed leaves a version folder
without ``saved_model.pb``, which is never loaded, and which the next push removes.
"""

import contextlib
import dataclasses
import hashlib
import posixpath
import time
from collections.abc import Iterator

from tfx.dsl.io import fileio

from components.publishing.manifest import (
    MANIFEST_FILE,
    Manifest,
    PushResult,
    fingerprint,
    outcome_of_standing,
)

LAST_FILE = "saved_model.pb"


def newest_push(base_directory: str, other_than: str = "") -> Manifest | None:
    """The manifest of the newest complete version; None while nothing has been pushed.

    Args:
        base_directory: folder or URI of the versions; need not exist.
        other_than: URI of a ``Model`` artifact whose versions do not count.
    """
    base = base_directory.rstrip("/")
    if not fileio.exists(base):
        return None
    standing = _standing(base, _complete(base, versions(base)))
    pushes = [push for push in standing.values() if push.fingerprint and push.source != other_than]
    return max(pushes, key=lambda push: push.version, default=None)


def push(export: str, source: str, base_directory: str, keep_versions: int = 0) -> PushResult:
    """Copy an export to a new version folder, unless it already stands there.

    Args:
        export: folder of the SavedModel.
        source: URI of its ``Model`` artifact.
        base_directory: URI that model servers watch.
        keep_versions: how many of the newest versions stay; 0 keeps all.
    """
    base = base_directory.rstrip("/")
    fileio.makedirs(base)
    used = versions(base)
    complete = _complete(base, used)
    for version in sorted(set(used) - set(complete)):
        fileio.rmtree(posixpath.join(base, str(version)))
    files = {name: _read(posixpath.join(export, name)) for name in _names(export)}
    wanted = fingerprint((name, hashlib.sha256(data).digest()) for name, data in files.items())
    if outcome := outcome_of_standing(_standing(base, complete), wanted, source, base):
        return outcome
    version = max([int(time.time()), *(number + 1 for number in used)])
    manifest = Manifest(wanted, source, version)
    destination = posixpath.join(base, str(version))
    files[MANIFEST_FILE] = manifest.to_json().encode()
    for name in sorted(files, key=lambda name: (name == LAST_FILE, name)):
        _write(posixpath.join(destination, name), files[name])
    if keep_versions > 0:
        for old in [*complete, version][:-keep_versions]:
            # The file that makes it loadable goes first.
            fileio.remove(posixpath.join(base, str(old), LAST_FILE))
            fileio.rmtree(posixpath.join(base, str(old)))
    return PushResult(
        pushed=True,
        reason=f"pushed as version {version}",
        version=version,
        destination=destination,
        fingerprint=wanted,
    )


def versions(base: str) -> list[int]:
    """Versions that are there, complete or not, rising."""
    names = (_text(name).rstrip("/") for name in fileio.listdir(base))
    return sorted(int(name) for name in names if name.isdecimal())


def _complete(base: str, used: list[int]) -> list[int]:
    return [v for v in used if fileio.exists(posixpath.join(base, str(v), LAST_FILE))]


def _standing(base: str, complete: list[int]) -> dict[int, Manifest]:
    manifests = {}
    for version in complete:
        path = posixpath.join(base, str(version), MANIFEST_FILE)
        manifests[version] = Manifest.unknown(version)
        if fileio.exists(path):
            with contextlib.suppress(ValueError):
                manifest = Manifest.from_json(_read(path).decode())
                manifests[version] = dataclasses.replace(manifest, version=version)
    return manifests


def _names(folder: str) -> Iterator[str]:
    for parent, _, names in fileio.walk(folder):
        for name in names:
            yield posixpath.relpath(posixpath.join(_text(parent), _text(name)), folder)


def _read(path: str) -> bytes:
    with fileio.open(path, "rb") as file:
        return bytes(file.read())


def _write(path: str, data: bytes) -> None:
    fileio.makedirs(posixpath.dirname(path))
    with fileio.open(path, "wb") as file:
        file.write(data)


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name
