"""Registration and deployment of pushed versions on a Vertex AI endpoint.

The Pusher's container gets ``--vertex_endpoint``. If the executor has pushed a version, it is
uploaded to the Model Registry (``runners.vertex.model_registry``) and deployed
(``runners.vertex.deployment``). Both skip what is already done, so running the node again completes
what failed.
"""

import dataclasses
import json
import re
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter

from modules.contract.errors import UserError
from pipeline.config import Config
from runners.remote.checks import is_fixed
from runners.vertex.access import VertexAccess, access_of, check_accelerator
from runners.vertex.deployment import RESOURCE_NAME, Deployment, deploy, find
from runners.vertex.model_registry import PREBUILT, PushedVersion, register

FLAG = "--vertex_endpoint"
#: Artifact Registry and Container Registry.
_REGISTRY = re.compile(r"([a-z0-9-]+-docker\.pkg\.dev|([a-z]+\.)?gcr\.io)/.+")


@dataclasses.dataclass(frozen=True)
class EndpointSettings:
    """Settings for serving pushed versions on an endpoint.

    Attributes:
        access: project, region and host of the API.
        model_id: the id of the registered model.
        image: the image of the serving container.
        code: the label that identifies the code of a version.
        deployment: endpoint, machines and traffic.
    """

    access: VertexAccess
    model_id: str
    image: str
    code: Mapping[str, str]
    deployment: Deployment

    def to_json(self) -> str:
        """Return the settings as text; equal settings give equal text."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "EndpointSettings":
        """Return the settings from the text that ``to_json`` returned."""
        return TypeAdapter(cls).validate_json(text)


def check(config: Config) -> None:
    """Refuse endpoint settings that cannot work, without slow imports.

    Raises:
        UserError: a setting is wrong; names the key, the allowed values and the fix.
    """
    section = config.vertex
    if not section.endpoint:
        return
    access_of(config)
    resource = RESOURCE_NAME.fullmatch(section.endpoint)
    if resource and resource["region"] != section.region:
        raise UserError(
            f"vertex.endpoint: must be in vertex.region, {section.region}; received "
            f"{section.endpoint}; --set vertex.region={resource['region']}"
        )
    image = section.endpoint_image
    prebuilt = PREBUILT.fullmatch(image)
    if not prebuilt and not (_REGISTRY.fullmatch(image) and is_fixed(image)):
        validated = config.infra_validator.image
        raise UserError(
            f"vertex.endpoint_image: must be a copy of {validated} in Artifact Registry with a "
            "fixed tag or a digest, or one of Google's prebuilt containers for TensorFlow; "
            f"received {image!r}; try --set "
            "vertex.endpoint_image=REGION-docker.pkg.dev/PROJECT/REPOSITORY/"
            f"{validated.rpartition('/')[2]}"
        )


def settings_of(config: Config) -> EndpointSettings:
    """Return the settings of a checked config.

    Raises:
        UserError: Vertex AI does not have the accelerator.
    """
    section = config.vertex
    check_accelerator("vertex.endpoint_accelerator", section.endpoint_accelerator)
    return EndpointSettings(
        access=access_of(config),
        model_id=config.pipeline.name,
        image=section.endpoint_image,
        code=_code_label(config.image.name),
        deployment=Deployment(
            endpoint=section.endpoint,
            machine_type=section.endpoint_machine_type,
            accelerator=section.endpoint_accelerator,
            min_replicas=section.endpoint_min_replicas,
            max_replicas=section.endpoint_max_replicas,
            traffic=section.endpoint_traffic,
            undeploy=section.endpoint_undeploy,
            labels=section.labels,
        ),
    )


def deploy_pushed(text: str, output: dict[str, Any]) -> None:
    """Register and deploy the pushed version; do nothing if the Pusher pushed none.

    Args:
        text: ``EndpointSettings`` as JSON.
        output: the Pusher's ExecutorOutput; the names of the endpoint and the registered version
            are added to its metadata.

    Raises:
        UserError: Vertex AI refuses a request or cannot be reached; reports the pushed version.
    """
    settings = EndpointSettings.from_json(text)
    deployment = settings.deployment
    [artifact] = output["artifacts"]["pushed_model"]["artifacts"]
    pushed = PushedVersion.from_artifact(artifact)
    if pushed is None:
        print(f"{deployment.endpoint}: nothing was pushed, so nothing is deployed", flush=True)
        return
    labels = {**deployment.labels, **settings.code}
    try:
        find(settings.access, deployment)  # fail before anything changes
        model = register(settings.access, settings.model_id, settings.image, labels, pushed)
        endpoint = deploy(
            settings.access, deployment, model, title=f"{settings.model_id}-{pushed.version}"
        )
    except UserError as error:
        raise UserError(
            f"Pusher: version {pushed.version} was pushed to {pushed.destination}, but "
            f"vertex.endpoint {deployment.endpoint} does not match the config: {error}; fix this "
            "and submit the same run again, which deploys without training"
        ) from error
    artifact["metadata"] |= {"vertex_endpoint": endpoint, "vertex_model": model}


def _code_label(image: str) -> dict[str, str]:
    """Return a label for an image: its tag, which is the commit, or its digest."""
    key = "digest" if "@" in image else "commit"
    return {key: re.sub(r"[^a-z0-9_-]", "-", image.rpartition(":")[2].lower())[:63]}
