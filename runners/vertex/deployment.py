"""Deployment of registered versions to a Vertex AI endpoint.

One request deploys a version and moves the traffic. A failure before it leaves the endpoint
unchanged. A failure after it leaves old versions without traffic, which the next run undeploys.
"""

import dataclasses
import re
from collections.abc import Collection, Mapping
from typing import Any

from modules.contract.errors import UserError
from pipeline.sections.vertex import ENDPOINT_RESOURCE
from runners.vertex.access import VertexAccess, finished, machine_spec

RESOURCE_NAME = re.compile(ENDPOINT_RESOURCE)
_NEW = "0"  # the model being deployed, in a traffic split
_ALL = 100
_SECONDS = 60  # limit on one request


@dataclasses.dataclass(frozen=True)
class Deployment:
    """An endpoint, and the machines and traffic of versions on it.

    Attributes:
        endpoint: the endpoint's display name or resource name.
        machine_type: the machine type of each replica.
        accelerator: the accelerator of each replica, or "".
        min_replicas: the number of replicas that always run.
        max_replicas: the greatest number of replicas under load.
        traffic: the percentage of traffic for a new version.
        undeploy: whether to undeploy versions without traffic.
        labels: the labels of a new endpoint.
    """

    endpoint: str
    machine_type: str
    accelerator: str = ""
    min_replicas: int = 1
    max_replicas: int = 1
    traffic: int = 100
    undeploy: bool = True
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)


def traffic_split(
    now: Mapping[str, int], share: int, replaced: Collection[str] = ()
) -> dict[str, int]:
    """Return the traffic after a deployment, in per cent.

    Args:
        now: id of a deployed model -> its percentage.
        share: the new model's percentage, unless it replaces others. If no deployed model has
            traffic, the new one gets all of it.
        replaced: ids whose percentage the new model takes over; the others keep theirs.
    """
    total = sum(now.values())
    if not total:
        return {_NEW: _ALL}
    if replaced:
        split = {deployed: part for deployed, part in now.items() if deployed not in replaced}
        split[_NEW] = total - sum(split.values())
    else:
        rest = _ALL - share
        split = {deployed: part * rest // total for deployed, part in now.items()}
        # The largest share gets what was lost by rounding down.
        split[max(split, key=lambda deployed: split[deployed])] += rest - sum(split.values())
        split[_NEW] = share
    return {deployed: part for deployed, part in split.items() if part or deployed == _NEW}


def find(access: VertexAccess, settings: Deployment) -> Any:
    """Return the endpoint, or None if no endpoint has the display name.

    Raises:
        UserError: the resource name does not exist, several endpoints have the display name, or
            the API refuses the request or cannot be reached.
    """
    client = access.client("EndpointServiceClient")
    with access.explained():
        if RESOURCE_NAME.fullmatch(settings.endpoint):
            return client.get_endpoint(name=settings.endpoint, timeout=_SECONDS)
        condition = f'display_name="{settings.endpoint}"'
        listed = client.list_endpoints(
            request={"parent": access.parent, "filter": condition}, timeout=_SECONDS
        )
        found = [endpoint for endpoint in listed if endpoint.display_name == settings.endpoint]
    if len(found) > 1:
        names = ", ".join(endpoint.name for endpoint in found)
        raise UserError(
            f"{len(found)} endpoints have this name: {names}; choose one: "
            f"--set vertex.endpoint={found[0].name}"
        )
    return found[0] if found else None


def deploy(access: VertexAccess, settings: Deployment, model: str, title: str) -> str:
    """Deploy a registered version, unless it is deployed, and undeploy versions without traffic.

    Args:
        access: project, region and host of the API.
        settings: endpoint, machines and traffic.
        model: the version's resource name, ``projects/PROJECT/.../models/MODEL@NUMBER``.
        title: the name shown in the console.

    Returns:
        The endpoint's resource name.

    Raises:
        UserError: the API refuses a request or cannot be reached.
    """
    client = access.client("EndpointServiceClient")
    with access.explained():
        endpoint = find(access, settings) or _make(client, access, settings)
        kept = _deployed(client, endpoint, settings, model, title)
        if settings.undeploy:
            _undeploy(client, endpoint.name, _end(model).partition("@")[0], kept)
    return str(endpoint.name)


def _deployed(client: Any, endpoint: Any, settings: Deployment, model: str, title: str) -> set[str]:
    """Deploy a version unless it runs as configured; return the ids under which it does."""
    same = [deployed for deployed in endpoint.deployed_models if _version(deployed) == _end(model)]
    kept = {deployed.id for deployed in same if _runs_as(deployed, settings)}
    if kept:
        _say(endpoint.name, f"{_end(model)} is already deployed")
        return kept
    split = traffic_split(
        endpoint.traffic_split, settings.traffic, {deployed.id for deployed in same}
    )
    deployed_model = {
        "display_name": title,
        "model": model,
        "dedicated_resources": {
            "machine_spec": machine_spec(settings.machine_type, settings.accelerator),
            "min_replica_count": settings.min_replicas,
            "max_replica_count": settings.max_replicas,
        },
    }
    operation = client.deploy_model(
        endpoint=endpoint.name,
        deployed_model=deployed_model,
        traffic_split=split,
        timeout=_SECONDS,
    )
    answer = finished(operation, f"the deployment to {endpoint.name}")
    _say(endpoint.name, f"{_end(model)} deployed, traffic {split[_NEW]}%")
    return {answer.deployed_model.id}


def _make(client: Any, access: VertexAccess, settings: Deployment) -> Any:
    endpoint = {"display_name": settings.endpoint, "labels": dict(settings.labels)}
    operation = client.create_endpoint(parent=access.parent, endpoint=endpoint, timeout=_SECONDS)
    made = finished(operation, f"the creation of the endpoint {settings.endpoint}")
    _say(made.name, "created")
    return made


def _undeploy(client: Any, name: str, model_id: str, kept: Collection[str]) -> None:
    """Undeploy this model's versions without traffic; leave other models alone."""
    endpoint = client.get_endpoint(name=name, timeout=_SECONDS)
    for deployed in endpoint.deployed_models:
        ours = _version(deployed).partition("@")[0] == model_id
        if ours and deployed.id not in kept and not endpoint.traffic_split.get(deployed.id, 0):
            operation = client.undeploy_model(
                endpoint=name, deployed_model_id=deployed.id, traffic_split={}, timeout=_SECONDS
            )
            finished(operation, f"the undeployment of {deployed.id} from {name}")
            _say(name, f"{_version(deployed)} undeployed, it had no traffic")


def _version(deployed: Any) -> str:
    """Return MODEL@NUMBER, without the project, which may be named by id or by number."""
    return f"{_end(deployed.model).partition('@')[0]}@{deployed.model_version_id}"


def _end(model: str) -> str:
    return model.rpartition("/")[2]


def _runs_as(deployed: Any, settings: Deployment) -> bool:
    """Return whether a deployed model has the configured machines."""
    found = deployed.dedicated_resources
    accelerator = found.machine_spec.accelerator_type
    return (
        found.machine_spec.machine_type,
        accelerator.name if accelerator else "",
        found.min_replica_count,
        found.max_replica_count,
    ) == (
        settings.machine_type,
        settings.accelerator,
        settings.min_replicas,
        settings.max_replicas,
    )


def _say(name: str, line: str) -> None:
    print(f"{name}: {line}", flush=True)
