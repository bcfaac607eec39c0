"""A loopback server for Vertex AI's v1 API: Model Registry and endpoints.

It stores what it receives and refuses what the API's reference says is refused: unknown fields,
malformed ids, aliases and labels, traffic that does not add up to 100, models that are not
registered, and undeploying a model that has traffic. As at Google, names contain the project's
number. Operations are polled under ``/ui/``, the first path that Google's clients try.
"""

import itertools
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from google.protobuf import json_format

from tests.runners.remote.platform_api import JSON, ApiError, PlatformApi, Request

PROJECT_NUMBER = "123456"
_PACKAGE = "type.googleapis.com/google.cloud.aiplatform.v1."
_PLACE = r"/projects/(?P<project>[^/]+)/locations/(?P<region>[^/]+)"


class PredictionApi(PlatformApi):
    """The loopback server.

    Args:
        failures: "upload", "create", "deploy" or "undeploy" -> message with which that operation
            fails, until the entry is removed.
        polls: number of responses in which an operation is not finished yet.
        **settings: passed to ``PlatformApi``.
    """

    def __init__(
        self, *, failures: Mapping[str, str] | None = None, polls: int = 0, **settings: Any
    ) -> None:
        super().__init__(**settings)
        self.failures = dict(failures or {})
        self.models: dict[str, list[JSON]] = {}  # id -> versions
        self.endpoints: dict[str, JSON] = {}  # number -> endpoint
        self._polls = polls
        self._operations: dict[str, JSON] = {}
        self._numbers = itertools.count(1001)
        self._region = ""

    @property
    def changes(self) -> list[str]:
        """The requested changes, in order: the last words of the paths of POST requests."""
        posts = (r.path.rpartition("/")[2] for r in self.requests if r.method == "POST")
        return [path.rpartition(":")[2] for path in posts]

    def deployed(self) -> dict[str, int]:
        """Return MODEL@NUMBER -> traffic in per cent, for the models of the only endpoint."""
        [endpoint] = self.endpoints.values()
        split = endpoint.get("trafficSplit", {})
        return {
            f"{model['model'].rpartition('/')[2].partition('@')[0]}@{model['modelVersionId']}": (
                split.get(model["id"], 0)
            )
            for model in endpoint.get("deployedModels", [])
        }

    def answer(self, request: Request) -> JSON:
        if self._refuse:
            raise ApiError(self._refuse, "Permission denied on resource project.")
        routes = {
            ("POST", r"/models:upload"): self._upload,
            ("GET", r"/models/(?P<model>[^/@]+)(@(?P<alias>[^/]+))?"): self._get_model,
            ("POST", r"/endpoints"): self._create,
            ("GET", r"/endpoints"): self._list,
            ("GET", r"/endpoints/(?P<endpoint>\d+)"): self._get_endpoint,
            ("POST", r"/endpoints/(?P<endpoint>\d+):deployModel"): self._deploy,
            ("POST", r"/endpoints/(?P<endpoint>\d+):undeployModel"): self._undeploy,
            ("GET", r"/(models|endpoints)/[^/]+/operations/(?P<number>\d+)"): self._operation,
        }
        for (method, pattern), handler in routes.items():
            version = "/ui" if "operations" in pattern else "/v1"
            match = re.fullmatch(version + _PLACE + pattern, unquote(request.path))
            if method == request.method and match:
                self._region = match["region"]
                return handler(request, match.groupdict())
        raise ApiError(404, f"{request.method} {request.path}")

    @property
    def _parent(self) -> str:
        return f"projects/{PROJECT_NUMBER}/locations/{self._region}"

    def _upload(self, request: Request, _: JSON) -> JSON:
        body = _parsed("UploadModelRequest", request.body)
        model = body["model"]
        parent_model, model_id = body.get("parentModel", ""), body.get("modelId", "")
        if bool(parent_model) == bool(model_id):
            raise ApiError(400, "either modelId or parentModel")
        if parent_model and (model_id := parent_model.rpartition("/")[2]) not in self.models:
            raise ApiError(404, f"{parent_model} is not found")
        if not parent_model and model_id in self.models:
            raise ApiError(409, f"{model_id} exists")
        if not re.fullmatch(r"[a-z_][a-z0-9_-]{0,62}", model_id):
            raise ApiError(400, f"invalid model id {model_id}")
        if not model["artifactUri"].startswith("gs://"):
            raise ApiError(400, f"invalid artifactUri {model['artifactUri']}")
        aliases = model.get("versionAliases", [])
        if not all(re.fullmatch(r"[a-z][a-zA-Z0-9-]{0,126}[a-z0-9]", alias) for alias in aliases):
            raise ApiError(400, f"invalid alias among {aliases}")
        _check_labels(model.get("labels", {}))
        if message := self.failures.get("upload"):
            return self._begin(f"models/{model_id}", "UploadModelResponse", error=message)
        versions = self.models.setdefault(model_id, [])
        for version in versions:  # an alias belongs to one version
            version["versionAliases"] = [a for a in version["versionAliases"] if a not in aliases]
        number = str(len(versions) + 1)
        name = f"{self._parent}/models/{model_id}"
        versions.append({**model, "name": name, "versionId": number})
        response = {"model": f"{name}@{number}", "modelVersionId": number}
        return self._begin(f"models/{model_id}", "UploadModelResponse", response)

    def _get_model(self, _: Request, words: JSON) -> JSON:
        alias = words["alias"] or "default"
        for version in self.models.get(words["model"], []):
            if alias in (version["versionId"], *version["versionAliases"]):
                return version
        raise ApiError(404, f"The Model {words['model']}@{alias} is not found")

    def _create(self, request: Request, _: JSON) -> JSON:
        endpoint = _parsed("Endpoint", request.body)
        _check_labels(endpoint.get("labels", {}))
        number = str(next(self._numbers))
        if message := self.failures.get("create"):
            return self._begin(f"endpoints/{number}", "Endpoint", error=message)
        made = {**endpoint, "name": f"{self._parent}/endpoints/{number}"}
        self.endpoints[number] = made
        return self._begin(f"endpoints/{number}", "Endpoint", made)

    def _list(self, request: Request, _: JSON) -> JSON:
        [condition] = request.query["filter"]
        wanted = re.fullmatch(r'display_name="([^"]*)"', condition)
        if wanted is None:
            raise ApiError(400, f"invalid filter {condition}")
        found = [e for e in self.endpoints.values() if e["displayName"] == wanted[1]]
        return {"endpoints": found}

    def _get_endpoint(self, _: Request, words: JSON) -> JSON:
        if words["endpoint"] not in self.endpoints:
            raise ApiError(404, f"The Endpoint {words['endpoint']} is not found")
        return self.endpoints[words["endpoint"]]

    def _deploy(self, request: Request, words: JSON) -> JSON:
        endpoint = self._get_endpoint(request, words)
        body = _parsed("DeployModelRequest", request.body)
        model = body["deployedModel"]
        model_id, _, alias = model["model"].rpartition("/")[2].partition("@")
        version = self._get_model(request, {"model": model_id, "alias": alias})
        machine = model["dedicatedResources"]
        if not machine["machineSpec"]["machineType"] or machine["minReplicaCount"] < 1:
            raise ApiError(400, "machine type and replicas are needed")
        self._check_split(endpoint, body["trafficSplit"], "0")
        place = f"endpoints/{words['endpoint']}"
        if message := self.failures.get("deploy"):
            return self._begin(place, "DeployModelResponse", error=message)
        number = str(next(self._numbers))
        name = f"{self._parent}/models/{model_id}@{version['versionId']}"
        done = {**model, "id": number, "model": name, "modelVersionId": version["versionId"]}
        endpoint.setdefault("deployedModels", []).append(done)
        split = {number if key == "0" else key: n for key, n in body["trafficSplit"].items()}
        endpoint["trafficSplit"] = split
        return self._begin(place, "DeployModelResponse", {"deployedModel": done})

    def _undeploy(self, request: Request, words: JSON) -> JSON:
        endpoint = self._get_endpoint(request, words)
        body = _parsed("UndeployModelRequest", request.body)
        number = body["deployedModelId"]
        if endpoint["trafficSplit"].get(number):
            raise ApiError(400, f"{number} still gets traffic")
        place = f"endpoints/{words['endpoint']}"
        if message := self.failures.get("undeploy"):
            return self._begin(place, "UndeployModelResponse", error=message)
        left = [model for model in endpoint["deployedModels"] if model["id"] != number]
        if len(left) == len(endpoint["deployedModels"]):
            raise ApiError(404, f"{number} is not deployed")
        endpoint["deployedModels"] = left
        return self._begin(place, "UndeployModelResponse", {})

    def _check_split(self, endpoint: JSON, split: Mapping[str, int], new: str) -> None:
        known = {new, *(model["id"] for model in endpoint.get("deployedModels", []))}
        if sum(split.values()) != 100 or not split.keys() <= known:
            raise ApiError(400, f"Traffic percentages must add up to 100, received {dict(split)}")

    def _begin(self, place: str, kind: str, response: JSON | None = None, error: str = "") -> JSON:
        """Return a long-running operation whose work is done, but which reports so later."""
        number = str(next(self._numbers))
        end = {"error": {"code": 8, "message": error}} if error else None
        self._operations[number] = {
            "name": f"{self._parent}/{place}/operations/{number}",
            "polls": self._polls,
            "end": end or {"response": {"@type": _PACKAGE + kind, **(response or {})}},
        }
        return self._poll(self._operations[number])

    def _operation(self, _: Request, words: JSON) -> JSON:
        return self._poll(self._operations[words["number"]])

    def _poll(self, operation: JSON) -> JSON:
        operation["polls"] -= 1
        if operation["polls"] >= 0:
            return {"name": operation["name"]}
        return {"name": operation["name"], "done": True, **operation["end"]}


def _parsed(kind: str, body: JSON) -> JSON:
    """Return the body as its message parses it; refuse unknown fields."""
    from google.cloud import aiplatform_v1  # takes 1.3 s, which other tests need not spend

    message = getattr(aiplatform_v1, kind).pb()()
    try:
        json_format.ParseDict(body, message)
    except json_format.ParseError as error:
        raise ApiError(400, f"Invalid JSON payload received. {error}") from error
    found: JSON = json_format.MessageToDict(message)
    return found


def _check_labels(labels: Mapping[str, str]) -> None:
    for key, value in labels.items():
        if not re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", key) or not re.fullmatch(
            r"[a-z0-9_-]{0,63}", value
        ):
            raise ApiError(400, f"invalid label {key}={value}")
