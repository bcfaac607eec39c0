"""Conversion between object store URIs and the folders where Kubeflow and Vertex AI mount them.

TensorFlow 2.21 no longer supports object stores, so nodes on those platforms read and write
``/gcs/BUCKET/...`` instead of the platform's ``gs://BUCKET/...``. Standard library only.
"""

import os

#: URI scheme -> mount.
MOUNTS = {"gs://": "/gcs/", "s3://": "/s3/", "minio://": "/minio/"}

#: Environment variable for the parent folder of the mounts; by default, the root folder.
ROOT_VARIABLE = "BERT_MOUNT_ROOT"


def to_path(text: str) -> str:
    """Return the mounted path of an object store's URI; return other text unchanged."""
    for scheme, mount in MOUNTS.items():
        if text.startswith(scheme):
            return _root() + mount + text.removeprefix(scheme)
    return text


def to_uri(text: str) -> str:
    """Return the object store's URI of a mounted path; return other text unchanged."""
    for scheme, mount in MOUNTS.items():
        if text.startswith(_root() + mount):
            return scheme + text.removeprefix(_root() + mount)
    return text


def is_object_store(directory: str) -> bool:
    """Return whether a directory is a URI or on a mount, without folder renames and locks."""
    return "://" in to_uri(directory)


def _root() -> str:
    return os.environ.get(ROOT_VARIABLE, "").rstrip("/")
