"""Pushes to a local or mounted folder. Standard library only.

A single rename makes a version visible, after every byte of it is on disk. A push that fails before
that leaves a hidden folder, which model servers ignore (TensorFlow Serving reads only folders whose
name is a number) and the next push removes.
"""

import contextlib
import dataclasses
import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator

from components.publishing.manifest import PushResult, fingerprint, outcome_if_pushed
from modules.contract.atomic_file import sync_folder, write_text
from modules.contract.errors import UserError
from modules.contract.pushed_model import (
    MANIFEST_FILE,
    Manifest,
    complete_versions,
    read_manifest,
    version_folders,
)

TEMPORARY_PREFIX = ".tmp-"
LEDGER = ".pushed.jsonl"
LOCK = ".push.lock"
_BLOCK_BYTES = 1 << 20


def push(export: str, source: str, base_directory: str, keep_versions: int = 0) -> PushResult:
    """Copy an export to a new version folder, unless it is already pushed.

    Args:
        export: folder of the SavedModel.
        source: URI of its ``Model`` artifact.
        base_directory: the folder that model servers watch; created if it does not exist.
        keep_versions: number of newest versions to keep; 0 keeps all.

    Raises:
        UserError: the folder cannot be created, or its ledger cannot be read.
    """
    base = os.path.abspath(base_directory)
    try:
        os.makedirs(base, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"pusher.base_directory must be a writable folder; {error}; try "
            "`--set pusher.base_directory=FOLDER`"
        ) from error
    with _lock(base):
        _remove_leftovers(base)
        wanted = folder_fingerprint(export)
        existing = _manifests(base)
        # A push killed after the rename leaves a version that is not in the ledger.
        _record(base, existing.values())
        if outcome := outcome_if_pushed(existing, wanted, source, base):
            return outcome
        manifest = Manifest(wanted, source, next_version(base))
        destination = _publish(export, base, manifest)
        _record(base, [manifest])
        _prune(base, keep_versions)
        return PushResult.of(manifest, destination)


def folder_fingerprint(folder: str) -> str:
    """Return the fingerprint of the files under ``folder``; see ``manifest.fingerprint``."""
    return fingerprint(
        (os.path.relpath(path, folder).replace(os.sep, "/"), _file_digest(path))
        for path in _files(folder)
    )


def next_version(base: str) -> int:
    """Return a number above all versions ever used, at least the seconds since 1970.

    Raises:
        UserError: the ledger cannot be read.
    """
    known = [*version_folders(base), *(manifest.version for manifest in _ledger(base))]
    return max([int(time.time()), *(version + 1 for version in known)])


def _publish(export: str, base: str, manifest: Manifest) -> str:
    temporary = tempfile.mkdtemp(prefix=TEMPORARY_PREFIX, dir=base)
    staged = os.path.join(temporary, str(manifest.version))
    shutil.copytree(export, staged, copy_function=_copy_file)
    write_text(os.path.join(staged, MANIFEST_FILE), manifest.to_json())
    for folder, _, _ in os.walk(staged, topdown=False):
        sync_folder(folder)
    destination = os.path.join(base, str(manifest.version))
    os.rename(staged, destination)
    sync_folder(base)
    os.rmdir(temporary)
    return destination


def _copy_file(source: str, target: str) -> None:
    with open(source, "rb") as reader, open(target, "wb") as writer:
        shutil.copyfileobj(reader, writer, _BLOCK_BYTES)
        writer.flush()
        os.fsync(writer.fileno())


def _prune(base: str, keep_versions: int) -> None:
    """Remove the oldest versions, each with a single rename instead of file by file."""
    if keep_versions < 1:
        return
    for folder in list(complete_versions(base).values())[:-keep_versions]:
        hidden = tempfile.mkdtemp(prefix=TEMPORARY_PREFIX, dir=base)
        os.rename(folder, os.path.join(hidden, folder.name))
        shutil.rmtree(hidden)


def _manifests(base: str) -> dict[int, Manifest]:
    manifests = {}
    for version, folder in complete_versions(base).items():
        try:
            manifests[version] = dataclasses.replace(read_manifest(folder), version=version)
        except (OSError, ValueError):
            manifests[version] = Manifest.unknown(version)
    return manifests


def _ledger(base: str) -> list[Manifest]:
    path = os.path.join(base, LEDGER)
    if not os.path.exists(path):
        return []
    try:
        with open(path, encoding="utf-8") as file:
            return [Manifest.from_json(line) for line in file]
    except ValueError as error:
        raise UserError(
            f"each line of the ledger must record a push; {error}; repair {path}, or move it away"
        ) from error


def _record(base: str, manifests: Iterable[Manifest]) -> None:
    """Record versions, so that no number is reused after its folder was removed."""
    recorded = _ledger(base)
    new = [manifest for manifest in manifests if manifest not in recorded]
    if new:
        text = "".join(manifest.to_json() for manifest in [*recorded, *new])
        write_text(os.path.join(base, LEDGER), text)


def _remove_leftovers(base: str) -> None:
    """Remove what killed pushes left. The lock ensures that no other push is running."""
    for entry in os.scandir(base):
        if entry.name.startswith(TEMPORARY_PREFIX) and entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path, ignore_errors=True)


@contextlib.contextmanager
def _lock(base: str) -> Iterator[None]:
    """Allow one push at a time; the system releases the lock if the process dies."""
    with open(os.path.join(base, LOCK), "a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _files(folder: str) -> Iterator[str]:
    for parent, _, names in os.walk(folder):
        for name in names:
            yield os.path.join(parent, name)


def _file_digest(path: str) -> bytes:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
