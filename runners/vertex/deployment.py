"""Deploys a registered version to a Vertex AI endpoint.

Deploying and moving the traffic are one request, so that nothing stands half done: a failure before
leaves the endpoint as it was, and one after it leaves old versions without traffic for the next
run to take off.
"""

import dataclasses
import re
from collections.abc import Collection, Mapping
from typing import Any

from modules.contract.errors import UserError
from pipeline.sections.vertex import ENDPOINT_RESOURCE
from runners.vertex.access import VertexAccess, finished, machine_spec

RESOURCE_NAME = re.compile(ENDPOINT_RESOURCE)
_NEW = "0"  # in a traffic split: the model that is being deployed
_ALL = 100
_SECONDS = 60  # limit on one request


@dataclasses.dataclass(frozen=True)
class Deployment:
    """An endpoint, and how versions run there.

    Attributes:
        endpoint: its display name or its resource name.
        machine_type: of each replica.
        accelerator: of each replica, or "".
        min_replicas: that always run.
        max_replicas: under load.
        traffic: percentage for a new version.
        undeploy: whether versions without traffic are taken off.
        labels: of an endpoint that is made.
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
    """The traffic after a deployment, in per cent.

    Args:
        now: id of a deployed model -> its percentage.
        share: of the new one, where it replaces none; all, where nothing else gets traffic.
        replaced: ids whose share the new one takes over instead; the others keep theirs.
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
        # What rounding down has lost goes to the greatest.
        split[max(split, key=lambda deployed: split[deployed])] += rest - sum(split.values())
        split[_NEW] = share
    return {deployed: part for deployed, part in split.items() if part or deployed == _NEW}


def find(access: VertexAccess, settings: Deployment) -> Any:
    """The endpoint, or None where its display name is not taken.

    Raises:
        UserError: there is none of that resource name, or there are two of that display name; the
            API refuses or cannot be reached.
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
            f"{len(found)} endpoints have this name, {names}; --set vertex.endpoint={found[0].name}"
        )
    return found[0] if found else None


def deploy(access: VertexAccess, settings: Deployment, model: str, title: str) -> str:
    """Deploy a registered version, unless it is deployed, and tidy up behind it.

    Args:
        access: where the API is.
        settings: endpoint, machines and traffic.
        model: the version's resource name, ``projects/PROJECT/.../models/MODEL@NUMBER``.
        title: shown in the console.

    Returns:
        The endpoint's resource name.

    Raises:
        UserError: the API refuses or cannot be reached.
    """
    client = access.client("EndpointServiceClient")
    with access.explained():
        endpoint = find(access, settings) or _make(client, access, settings)
        kept = _deployed(client, endpoint, settings, model, title)
        if settings.undeploy:
            _undeploy(client, endpoint.name, _end(model).partition("@")[0], kept)
    return str(endpoint.name)


def _deployed(client: Any, endpoint: Any, settings: Deployment, model: str, title: str) -> set[str]:
    """The ids under which a version is deployed as wanted; deploys it where there are none."""
    same = [deployed for deployed in endpoint.deployed_models if _version(deployed) == _end(model)]
    kept = {deployed.id for deployed in same if _runs_as(deployed, settings)}
    if kept:
        _say(endpoint.name, f"{_end(model)} is deployed already")
        return kept
    split = traffic_split(
        endpoint.traffic_split, settings.traffic, {deployed.id for deployed in same}
    )
    deployed_model = {
        "display_name": title,
        "model": model,
        "dedicated_resources": _resources(settings),
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
    made = finished(operation, f"the making of the endpoint {settings.endpoint}")
    _say(made.name, "made")
    return made


def _undeploy(client: Any, name: str, model_id: str, kept: Collection[str]) -> None:
    """Take this model's versions without traffic off; other models are left alone."""
    endpoint = client.get_endpoint(name=name, timeout=_SECONDS)
    for deployed in endpoint.deployed_models:
        ours = _version(deployed).partition("@")[0] == model_id
        if ours and deployed.id not in kept and not endpoint.traffic_split.get(deployed.id, 0):
            operation = client.undeploy_model(
                endpoint=name, deployed_model_id=deployed.id, traffic_split={}, timeout=_SECONDS
            )
            finished(operation, f"taking {deployed.id} off {name}")
            _say(name, f"{_version(deployed)} without traffic taken off")


def _version(deployed: Any) -> str:
    """MODEL@NUMBER of a deployed model; the project may be named by id or by number."""
    return f"{_end(deployed.model).partition('@')[0]}@{deployed.model_version_id}"


def _end(model: str) -> str:
    return model.rpartition("/")[2]


def _resources(settings: Deployment) -> dict[str, Any]:
    return {
        "machine_spec": machine_spec(settings.machine_type, settings.accelerator),
        "min_replica_count": settings.min_replicas,
        "max_replica_count": settings.max_replicas,
    }


def _runs_as(deployed: Any, settings: Deployment) -> bool:
    """Whether a deployed model has the machines that are wanted."""
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
