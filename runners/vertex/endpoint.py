"""Serving on a Vertex AI endpoint: what the Pusher has pushed is registered and deployed.

The Pusher's container in the pipeline gets ``--vertex_endpoint``. After the executor has pushed,
and only then, the version is uploaded to the Model Registry (``vertex_model_registry``) and
deployed (``vertex_deployment``). Both leave alone what is there already, so that running the node
again makes up for what has failed.
"""

import dataclasses
import json
import re
from collections.abc import Mapping
from typing import Any

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
    """Where and how pushed versions serve.

    Attributes:
        access: where the API is.
        model_id: of the registered model.
        image: of the serving container.
        code: label of a version that tells what code made it.
        deployment: endpoint, machines and traffic.
    """

    access: VertexAccess
    model_id: str
    image: str
    code: Mapping[str, str]
    deployment: Deployment

    def to_json(self) -> str:
        """As text, the same for the same settings."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "EndpointSettings":
        """The opposite of ``to_json``."""
        values = json.loads(text)
        values["access"] = VertexAccess(**values["access"])
        values["deployment"] = Deployment(**values["deployment"])
        return cls(**values)


def check(config: Config) -> None:
    """Refuse settings of an endpoint that cannot work. Imports nothing slow.

    Raises:
        UserError: names the key, what is legal and what to type.
    """
    section = config.vertex
    if not section.endpoint:
        return
    access_of(config)
    resource = RESOURCE_NAME.fullmatch(section.endpoint)
    if resource and resource["region"] != section.region:
        raise UserError(
            f"vertex.endpoint: legal is an endpoint in vertex.region, {section.region}; received "
            f"{section.endpoint}; --set vertex.region={resource['region']}"
        )
    image = section.endpoint_image
    prebuilt = PREBUILT.fullmatch(image)
    if not prebuilt and not (_REGISTRY.fullmatch(image) and is_fixed(image)):
        validated = config.infra_validator.image
        raise UserError(
            f"vertex.endpoint_image: legal is a copy of {validated} in Artifact Registry, with a "
            "fixed tag or a digest, or a prebuilt container of Google's for TensorFlow; received "
            f"{image!r}; try --set vertex.endpoint_image=REGION-docker.pkg.dev/PROJECT/REPOSITORY/"
            f"{validated.rpartition('/')[2]}"
        )


def settings_of(config: Config) -> EndpointSettings:
    """The settings of a checked config.

    Raises:
        UserError: Vertex has no such accelerator.
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
    """Bring to the endpoint what the Pusher has pushed; nothing where it has refused the model.

    Args:
        text: ``EndpointSettings`` as JSON.
        output: the Pusher's ExecutorOutput; where the version serves is added to its metadata.

    Raises:
        UserError: Vertex AI refuses or cannot be reached; says what stands.
    """
    settings = EndpointSettings.from_json(text)
    deployment = settings.deployment
    [artifact] = output["artifacts"]["pushed_model"]["artifacts"]
    pushed = PushedVersion.from_artifact(artifact)
    if pushed is None:
        print(f"{deployment.endpoint}: nothing was pushed, nothing is deployed", flush=True)
        return
    labels = {**deployment.labels, **settings.code}
    try:
        find(settings.access, deployment)  # before anything is done, whether it can be done
        model = register(settings.access, settings.model_id, settings.image, labels, pushed)
        endpoint = deploy(
            settings.access, deployment, model, title=f"{settings.model_id}-{pushed.version}"
        )
    except UserError as error:
        raise UserError(
            f"Pusher: version {pushed.version} stands at {pushed.destination}, but "
            f"vertex.endpoint {deployment.endpoint} is not as configured: {error}; put it right "
            "and submit the same run again, which deploys without training"
        ) from error
    artifact["metadata"] |= {"vertex_endpoint": endpoint, "vertex_model": model}


def _code_label(image: str) -> dict[str, str]:
    """A label for an image: its tag, which is the commit, or its digest."""
    key = "digest" if "@" in image else "commit"
    return {key: re.sub(r"[^a-z0-9_-]", "-", image.rpartition(":")[2].lower())[:63]}
