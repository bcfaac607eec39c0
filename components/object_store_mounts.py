"""Object stores as folders, the way Kubeflow's launcher and Vertex AI mount them.

Standard library only. TensorFlow 2.21 has no object stores built in, so on those platforms nodes
read and write ``/gcs/BUCKET/...`` where the platform says ``gs://BUCKET/...``.
"""

import os

#: URI scheme -> mount.
MOUNTS = {"gs://": "/gcs/", "s3://": "/s3/", "minio://": "/minio/"}

#: Environment variable: the folder in which the mounts lie. Platforms mount at the root.
ROOT_VARIABLE = "BERT_MOUNT_ROOT"


def to_path(text: str) -> str:
    """A URI of an object store as a path of its mount; other text as it is."""
    for scheme, mount in MOUNTS.items():
        if text.startswith(scheme):
            return _root() + mount + text.removeprefix(scheme)
    return text


def to_uri(text: str) -> str:
    """The opposite of ``to_path``."""
    for scheme, mount in MOUNTS.items():
        if text.startswith(_root() + mount):
            return scheme + text.removeprefix(_root() + mount)
    return text


def is_object_store(directory: str) -> bool:
    """Whether a directory is a URI or lies on a mount, which has no rename of folders, no locks."""
    return "://" in to_uri(directory)


def _root() -> str:
    return os.environ.get(ROOT_VARIABLE, "").rstrip("/")
