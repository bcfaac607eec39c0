"""Registration of pushed versions in Vertex AI's Model Registry: one model, one version per push.

An alias with the pushed version's number prevents a version from being registered twice.
"""

import dataclasses
import hashlib
import json
import posixpath
import re
from collections.abc import Mapping
from typing import Any

from components.object_store_mounts import to_path
from modules.contract.pushed_model import read_manifest
from runners.vertex.access import VertexAccess, finished
from serving.server.worker import precision

_SECONDS = 60  # limit on one request
#: Google's own containers serve a SavedModel folder directly; they have no fixed tags.
PREBUILT = re.compile(
    r"[a-z]+-docker\.pkg\.dev/vertex-ai(-restricted)?/prediction/(tf|tensorflow)[^/]+"
)
_MODEL_NAME = "default"
_PORT = 8080  # Vertex AI's default
_CONTENT = "content"


@dataclasses.dataclass(frozen=True)
class PushedVersion:
    """A version that the Pusher has pushed.

    Attributes:
        version: the version's number, which is the name of its folder.
        destination: the URI of that folder.
        artifact: the URI of the ``PushedModel``, whose folder may hold copies.
        fingerprint: the fingerprint of the version's files; see ``manifest.fingerprint``.
    """

    version: int
    destination: str
    artifact: str
    fingerprint: str

    @classmethod
    def from_artifact(cls, artifact: Mapping[str, Any]) -> "PushedVersion | None":
        """Read the version from the Pusher's output; return None if nothing was pushed.

        Args:
            artifact: the ``PushedModel`` of an ExecutorOutput.
        """
        metadata = artifact.get("metadata", {})
        if metadata.get("pushed") != 1:
            return None
        destination = metadata["pushed_destination"]
        manifest = read_manifest(to_path(destination))
        version = int(metadata["pushed_version"])
        return cls(version, destination, artifact["uri"], manifest.fingerprint)

    @property
    def alias(self) -> str:
        """The version's alias in the registered model."""
        return f"v{self.version}"


def register(
    access: VertexAccess,
    model_id: str,
    image: str,
    labels: Mapping[str, str],
    pushed: PushedVersion,
) -> str:
    """Upload a pushed version, unless it is registered.

    Args:
        access: project, region and host of the API.
        model_id: the id of the registered model, which is created with its first version.
        image: the image of the serving container.
        labels: the version's labels.
        pushed: the pushed version.

    Returns:
        The version's resource name, ``projects/PROJECT/.../models/MODEL@NUMBER``.

    Raises:
        UserError: the API refuses a request or cannot be reached.
    """
    from google.cloud import aiplatform_v1 as api

    client = access.client("ModelServiceClient")
    name = f"{access.parent}/models/{model_id}"
    container = container_spec(image)
    labels = {**labels, "version": str(pushed.version), _CONTENT: _content(container, pushed)}
    with access.explained():
        known = _get(client, f"{name}@{pushed.alias}")
        if known is not None and known.labels.get(_CONTENT) == labels[_CONTENT]:
            return f"{name}@{known.version_id}"
        first = known is None and _get(client, name) is None
        model = api.Model(
            display_name=model_id,
            version_aliases=["default", pushed.alias],
            version_description=f"pushed to {pushed.destination}",
            artifact_uri=_artifact(image, pushed),
            container_spec=container,
            labels=labels,
        )
        request = api.UploadModelRequest(
            parent=access.parent,
            model=model,
            **({"model_id": model_id} if first else {"parent_model": name}),
        )
        operation = client.upload_model(request=request, timeout=_SECONDS)
        number = finished(operation, f"the upload of {name}").model_version_id
    print(f"{name}@{number}: version {pushed.version} registered", flush=True)
    return f"{name}@{number}"


def container_spec(image: str) -> dict[str, Any]:
    """Return the serving container as fields of ``ModelContainerSpec``.

    Args:
        image: one of Google's prebuilt images, or TensorFlow Serving.
    """
    if PREBUILT.fullmatch(image):
        return {"image_uri": image}
    return {
        "image_uri": image,
        "command": ["/usr/bin/tensorflow_model_server"],
        "args": [
            "--port=8500",
            f"--rest_api_port={_PORT}",
            f"--model_name={_MODEL_NAME}",
            "--model_base_path=$(AIP_STORAGE_URI)",  # Vertex AI's copy of the artifact
            "--file_system_poll_wait_seconds=0",  # the copy never changes
        ],
        "env": [{"name": precision.VARIABLE, "value": "1"}],
        "ports": [{"container_port": _PORT}],
        "predict_route": f"/v1/models/{_MODEL_NAME}:predict",
        "health_route": f"/v1/models/{_MODEL_NAME}",
    }


def _artifact(image: str, pushed: PushedVersion) -> str:
    """Return the URI of the folder that Vertex AI copies for the container.

    TensorFlow Serving expects a folder of versions, and the push directory holds all versions, so
    this version is copied into a folder of its own.
    """
    if PREBUILT.fullmatch(image):
        return pushed.destination
    from tfx.utils import io_utils

    folder = posixpath.join(pushed.artifact, "serving")
    target = posixpath.join(to_path(folder), str(pushed.version))
    io_utils.copy_dir(to_path(pushed.destination), target)
    return folder


def _content(container: Mapping[str, Any], pushed: PushedVersion) -> str:
    """Return a label that identifies files and container."""
    text = json.dumps([pushed.fingerprint, container], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _get(client: Any, name: str) -> Any:
    """Return a registered model, or None if it does not exist."""
    from google.api_core.exceptions import NotFound

    try:
        return client.get_model(name=name, timeout=_SECONDS)
    except NotFound:
        return None
