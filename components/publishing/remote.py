"""Pushes to an object store: a URI that TFX's fileio supports, or a mount such as ``/gcs/BUCKET``.

The guarantee is weaker than that of a local folder. An object store cannot rename folders, so a
version's files appear one by one; ``saved_model.pb`` comes last, and TensorFlow Serving does not
load a version without it. There is no lock: two concurrent pushes may choose the same version
number, so let only one pipeline at a time push to a folder. A push that is killed leaves a version
folder without ``saved_model.pb``, which is never loaded and which the next push removes.
"""

import contextlib
import dataclasses
import hashlib
import posixpath
import time
from collections.abc import Iterator

from tfx.dsl.io import fileio

from components.publishing.manifest import PushResult, fingerprint, outcome_if_pushed
from modules.contract.pushed_model import MANIFEST_FILE, MODEL_FILE, Manifest, names_by_version


def newest_push(base_directory: str, other_than: str = "") -> Manifest | None:
    """Return the manifest of the newest complete version, or None if nothing has been pushed.

    Args:
        base_directory: folder or URI of the versions; need not exist.
        other_than: URI of a ``Model`` artifact whose versions are skipped.
    """
    base = base_directory.rstrip("/")
    if not fileio.exists(base):
        return None
    existing = _manifests(base, _complete(base, _version_names(base)))
    pushes = [push for push in existing.values() if push.fingerprint and push.source != other_than]
    return max(pushes, key=lambda push: push.version, default=None)


def version_folder(base_directory: str, version: int) -> str:
    """Return the path or URI of a version's folder.

    Raises:
        KeyError: the version does not exist.
    """
    base = base_directory.rstrip("/")
    return posixpath.join(base, _version_names(base)[version])


def push(export: str, source: str, base_directory: str, keep_versions: int = 0) -> PushResult:
    """Copy an export to a new version folder, unless it is already pushed.

    Args:
        export: folder of the SavedModel.
        source: URI of its ``Model`` artifact.
        base_directory: URI or mounted folder that model servers watch.
        keep_versions: number of newest versions to keep; 0 keeps all.
    """
    base = base_directory.rstrip("/")
    fileio.makedirs(base)
    used = _version_names(base)
    complete = _complete(base, used)
    for number, name in used.items():
        if number not in complete:
            fileio.rmtree(posixpath.join(base, name))
    files = {name: _read(posixpath.join(export, name)) for name in _names(export)}
    wanted = fingerprint((name, hashlib.sha256(data).digest()) for name, data in files.items())
    if outcome := outcome_if_pushed(_manifests(base, complete), wanted, source, base):
        return outcome
    version = max([int(time.time()), *(number + 1 for number in used)])
    manifest = Manifest(wanted, source, version)
    destination = posixpath.join(base, str(version))
    files[MANIFEST_FILE] = manifest.to_json().encode()
    for name in sorted(files, key=lambda name: (name == MODEL_FILE, name)):
        _write(posixpath.join(destination, name), files[name])
    if keep_versions > 0:
        for name in [*complete.values(), str(version)][:-keep_versions]:
            # Remove the file first without which servers do not load a version.
            fileio.remove(posixpath.join(base, name, MODEL_FILE))
            fileio.rmtree(posixpath.join(base, name))
    return PushResult.of(manifest, destination)


def _version_names(base: str) -> dict[int, str]:
    """Return the folder names of the versions, complete or not."""
    return names_by_version(_text(name).rstrip("/") for name in fileio.listdir(base))


def _complete(base: str, used: dict[int, str]) -> dict[int, str]:
    return {
        number: name
        for number, name in used.items()
        if fileio.exists(posixpath.join(base, name, MODEL_FILE))
    }


def _manifests(base: str, complete: dict[int, str]) -> dict[int, Manifest]:
    manifests = {}
    for version, name in complete.items():
        path = posixpath.join(base, name, MANIFEST_FILE)
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
