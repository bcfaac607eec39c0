"""Two local backends that execute a compiled PipelineSpec by the rules of Vertex AI and Kubeflow.

Both walk the DAG; resolve parameters, upstream artifacts, importers and resolvers; create the
ExecutorInput; run each task's own command as a process; and merge the outputs of driver and
executor. They differ where the platforms do:

Vertex AI: artifacts have their type and a resource name; every task sees the whole bucket under
``/gcs/``; the ``preCacheCheck`` hook runs before the cache lookup, and its parameters are part of
the key.

Kubeflow Pipelines, according to its source (``backend/src/v2``: driver, component/launcher_v2.go;
and ``backend/src/apiserver/template``): only schema 2.1.0, parsed strictly; resolver tasks are
refused; there are no hooks; a parameter without value or default stops the task; upstream artifacts
come without type; each task has its own pod, to which the launcher copies the inputs' files and
from which it copies the outputs' files, so empty folders and undeclared files are lost; metadata
must not be null; an output outside the bucket is refused.
"""

import dataclasses
import graphlib
import hashlib
import itertools
import json
import re
import shutil
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from tests.conformance.task_processes import Tasks

JSON = dict[str, Any]


class TaskFailedError(AssertionError):
    """A task failed; the message ends with its log."""


@dataclasses.dataclass
class TaskRun:
    """Result of a task.

    Attributes:
        state: "ran" or "cached".
        inputs: input artifacts by key, as the backend stores them.
        outputs: output artifacts by key, as the backend stores them.
        parameters: parameters that the executor received.
    """

    state: str
    inputs: dict[str, list[JSON]]
    outputs: dict[str, list[JSON]]
    parameters: JSON


class Backend:
    """The common part of both platforms.

    Args:
        folder: folder for the bucket, the pods and the logs.
        tasks: runs the processes.
    """

    #: Parts of the ExecutorInput that differ.
    gives_types = True
    scheme = "gs://"

    def __init__(self, folder: Path, tasks: Tasks) -> None:
        self.folder = folder
        self.tasks = tasks
        self.stored: dict[str, JSON] = {}  # artifacts by resource name
        self.bucket = folder / "bucket"  # the object store's files, by bucket and key
        self._cache: dict[str, dict[str, list[JSON]]] = {}
        self._numbers = itertools.count(1)

    def run(self, text: str, **parameters: Any) -> dict[str, TaskRun]:
        """Execute a compiled pipeline.

        Args:
            text: the compiled file.
            **parameters: values of the pipeline's own parameters.

        Raises:
            TaskFailedError: a task failed.
            ValueError: the platform would refuse the pipeline.
        """
        spec, root = self.read(text)
        given = self._root_parameters(spec, parameters)
        run = f"run-{next(self._numbers)}"
        self.folder.joinpath(run).mkdir(parents=True)
        dag = spec["root"]["dag"]["tasks"]
        order = graphlib.TopologicalSorter({name: _upstream(task) for name, task in dag.items()})
        done: dict[str, TaskRun] = {}
        for name in order.static_order():
            done[name] = self._run_task(spec, name, f"{root}/{run}", run, given, done)
        return done

    def read(self, text: str) -> tuple[JSON, str]:
        """Return the PipelineSpec and the pipeline root.

        Raises:
            ValueError: the platform would refuse the pipeline.
        """
        raise NotImplementedError

    def path(self, uri: str) -> Path:
        """Return the local path of an object store's URI."""
        return self.bucket / uri.removeprefix(self.scheme)

    def artifact(self, run: TaskRun, key: str) -> Path:
        """Return the folder of an output's files."""
        [artifact] = run.outputs[key]
        return self.path(artifact["uri"])

    def _root_parameters(self, spec: JSON, parameters: JSON) -> JSON:
        declared = spec["root"].get("inputDefinitions", {}).get("parameters", {})
        unknown = parameters.keys() - declared.keys()
        if unknown:
            raise ValueError(f"parameter(s) provided are not required by pipeline: {unknown}")
        values = {}
        for name, declaration in declared.items():
            if name in parameters:
                values[name] = parameters[name]
            elif "defaultValue" in declaration:
                values[name] = declaration["defaultValue"]
            elif not declaration.get("isOptional"):
                raise ValueError(f"parameter {name} has neither default value nor user value")
        return values

    def _run_task(
        self,
        spec: JSON,
        name: str,
        root: str,
        run: str,
        given: JSON,
        done: dict[str, TaskRun],
    ) -> TaskRun:
        task = spec["root"]["dag"]["tasks"][name]
        component = spec["components"][task["componentRef"]["name"]]
        executor = spec["deploymentSpec"]["executors"][component["executorLabel"]]
        inputs = {
            key: done[source["taskOutputArtifact"]["producerTask"]].outputs[
                source["taskOutputArtifact"]["outputArtifactKey"]
            ]
            for key, source in task.get("inputs", {}).get("artifacts", {}).items()
        }
        values = self._parameters(name, task, component, given)
        if "importer" in executor:
            return TaskRun("ran", {}, self._import(executor["importer"], component, values), values)
        if "resolver" in executor:
            return TaskRun("ran", {}, self._resolve(name, executor["resolver"], component), values)
        outputs = {
            key: [
                {
                    "uri": f"{root}/{name}/{key}",
                    "type": definition["artifactType"],
                    "metadata": definition.get("metadata", {}),
                }
            ]
            for key, definition in component.get("outputDefinitions", {})
            .get("artifacts", {})
            .items()
        }
        return self._run_container(
            name, task, executor["container"], run, TaskRun("ran", inputs, outputs, values)
        )

    def _parameters(self, name: str, task: JSON, component: JSON, given: JSON) -> JSON:
        declared = component.get("inputDefinitions", {}).get("parameters", {})
        values = {}
        for key, source in task.get("inputs", {}).get("parameters", {}).items():
            if "componentInputParameter" in source:
                values[key] = given[source["componentInputParameter"]]
            else:
                values[key] = source["runtimeValue"]["constant"]
        for key, declaration in declared.items():
            if key not in values and "defaultValue" not in declaration:
                raise ValueError(f"{name}: neither value nor default value for parameter {key!r}")
            is_number = isinstance(values.get(key), int | float)
            if key in values and is_number != declaration["parameterType"].startswith("NUMBER"):
                raise ValueError(f"{name}: input parameter {key!r} type mismatch")
        return values

    def _import(self, importer: JSON, component: JSON, values: JSON) -> dict[str, list[JSON]]:
        uri = (
            importer["artifactUri"].get("constant")
            or values[importer["artifactUri"]["runtimeParameter"]]
        )
        [key] = component["outputDefinitions"]["artifacts"]
        metadata = importer.get("metadata", {})
        found = {"uri": uri, "type": importer["typeSchema"], "metadata": metadata}
        return {key: [self._store(found)]}

    def _resolve(self, name: str, resolver: JSON, component: JSON) -> dict[str, list[JSON]]:
        """Return the newest artifact of each query's type, as Vertex does."""
        found = {}
        for key, query in resolver["outputArtifactQueries"].items():
            [title] = re.findall(r'schema_title="([^"]+)"', query["filter"])
            matches = [a for a in self.stored.values() if title in json.dumps(a["type"])]
            found[key] = matches[-1:]
        return found

    def _run_container(
        self, name: str, task: JSON, container: JSON, run: str, plan: TaskRun
    ) -> TaskRun:
        raise NotImplementedError

    def _start(
        self,
        name: str,
        command: JSON,
        executor_input: JSON,
        log: Path,
        mounts: Path,
    ) -> None:
        words = [*command["command"], *command["args"]]
        text = json.dumps(executor_input)
        words = [word.replace("{{$}}", text) for word in words]
        if self.tasks.run(name, words, log, BERT_MOUNT_ROOT=str(mounts)):
            raise TaskFailedError(f"{name} failed:\n{log.read_text(errors='replace')[-6000:]}")

    def _executor_input(self, plan: TaskRun, output_file: str) -> JSON:
        inputs = {}
        for key, artifacts in plan.inputs.items():
            given = [dict(artifact) for artifact in artifacts]
            for artifact in given:
                if not self.gives_types:
                    artifact["type"] = {}
            inputs[key] = {"artifacts": given}
        outputs = {key: {"artifacts": artifacts} for key, artifacts in plan.outputs.items()}
        task = {
            "inputs": {"parameterValues": plan.parameters, "artifacts": inputs},
            "outputs": {"artifacts": outputs, "outputFile": output_file},
        }
        # Converted through the protocol buffer, as in both backends: numbers become doubles.
        message = json_format.ParseDict(task, pipeline_spec_pb2.ExecutorInput())
        found: JSON = json_format.MessageToDict(message)
        return found

    def _merge(self, plan: TaskRun, output: JSON) -> None:
        """Merge the executor's output into the planned outputs."""
        json_format.ParseDict(output, pipeline_spec_pb2.ExecutorOutput())
        for key, held in output.get("artifacts", {}).items():
            [mine], [reported] = plan.outputs[key], held["artifacts"]
            mine["uri"] = reported.get("uri") or mine["uri"]
            mine["metadata"] = {**mine["metadata"], **reported.get("metadata", {})}

    def _store(self, artifact: JSON) -> JSON:
        number = next(self._numbers)
        artifact["name"] = self.resource_name(number)
        self.stored[artifact["name"]] = artifact
        return artifact

    def resource_name(self, number: int) -> str:
        """Return an artifact's name in the metadata store."""
        return str(number)

    def _cache_key(self, name: str, container: JSON, plan: TaskRun) -> str:
        artifacts = {k: [a["name"] for a in artifacts] for k, artifacts in plan.inputs.items()}
        key = [name, container["image"], container["args"], plan.parameters, artifacts]
        return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()

    def _cached(self, task: JSON, key: str) -> dict[str, list[JSON]] | None:
        return self._cache.get(key) if task.get("cachingOptions", {}).get("enableCache") else None

    def _finish(self, key: str, plan: TaskRun) -> TaskRun:
        for artifacts in plan.outputs.values():
            for artifact in artifacts:
                self._store(artifact)
        self._cache[key] = plan.outputs
        return plan


class VertexBackend(Backend):
    """Backend with the rules of Vertex AI Pipelines."""

    def read(self, text: str) -> tuple[JSON, str]:
        job = json.loads(text)
        json_format.ParseDict(job["pipelineSpec"], pipeline_spec_pb2.PipelineSpec())
        return job["pipelineSpec"], f"{job['runtimeConfig']['gcsOutputDirectory']}/123456"

    def resource_name(self, number: int) -> str:
        store = "projects/123456/locations/us-central1/metadataStores/default"
        return f"{store}/artifacts/{9_000_000_000_000_000_000 + number}"

    def path(self, uri: str) -> Path:
        return self.folder / "mounts" / "gcs" / uri.removeprefix("gs://")

    def _run_container(
        self, name: str, task: JSON, container: JSON, run: str, plan: TaskRun
    ) -> TaskRun:
        mounts, logs = self.folder / "mounts", self.folder / run
        first = next(iter(plan.outputs.values()))[0]["uri"]
        output_file = f"{first.rpartition('/')[0]}_{next(self._numbers)}/executor_output.json"
        for number, artifacts in enumerate(plan.outputs.values()):
            artifacts[0]["name"] = self.resource_name(10**6 + number)
        hook = container.get("lifecycle", {}).get("preCacheCheck")
        if hook:
            order = self._executor_input(plan, output_file)
            self._start(name, hook, order, logs / f"{name}-driver.log", mounts)
            found = json.loads(self.path(output_file).read_text())
            plan.parameters |= found.get("parameterValues", {})
            self._merge(plan, found)
        key = self._cache_key(name, container, plan)
        if (outputs := self._cached(task, key)) is not None:
            return TaskRun("cached", plan.inputs, outputs, plan.parameters)
        order = self._executor_input(plan, output_file)
        self._start(name, container, order, logs / f"{name}.log", mounts)
        self._merge(plan, json.loads(self.path(output_file).read_text()))
        return self._finish(key, plan)


class KubeflowBackend(Backend):
    """Backend with the rules of Kubeflow Pipelines."""

    gives_types = False
    scheme = "minio://"

    def read(self, text: str) -> tuple[JSON, str]:
        import yaml

        spec, *others = yaml.safe_load_all(text)
        json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
        for other in others:
            if "kubernetes" not in other.get("platforms", {}):
                raise ValueError("the second document is not a PlatformSpec")
        if spec["schemaVersion"] != "2.1.0":
            raise ValueError(f"KFP only supports schema version 2.1.0, not {spec['schemaVersion']}")
        for name in spec["root"]["dag"]["tasks"]:
            if not re.fullmatch(r"[a-zA-Z0-9][-a-zA-Z0-9]*", name):
                raise ValueError(f"{name}: not a name of an Argo task")
        return spec, spec["defaultPipelineRoot"]

    def _resolve(self, name: str, resolver: JSON, component: JSON) -> dict[str, list[JSON]]:
        raise ValueError("resolver not implemented yet")

    def _run_container(
        self, name: str, task: JSON, container: JSON, run: str, plan: TaskRun
    ) -> TaskRun:
        key = self._cache_key(name, container, plan)
        if (outputs := self._cached(task, key)) is not None:
            return TaskRun("cached", plan.inputs, outputs, plan.parameters)
        pod = self.folder / run / f"pod-{name}"
        for key_, artifacts in plan.outputs.items():
            artifacts[0]["name"] = key_
        for artifacts in plan.inputs.values():
            for artifact in artifacts:
                self._download(artifact["uri"], pod)
        first = next(iter(plan.outputs.values()))[0]["uri"]
        output_file = self._local(first, pod).parent / "output_metadata.json"
        output_file.parent.mkdir(parents=True, exist_ok=True)
        order = self._executor_input(plan, str(output_file))
        self._start(name, container, order, self.folder / run / f"{name}.log", pod)
        self._merge(plan, json.loads(output_file.read_text()))
        for artifacts in plan.outputs.values():
            for artifact in artifacts:
                self._upload(artifact, pod)
        shutil.rmtree(pod)
        return self._finish(key, plan)

    def _local(self, uri: str, pod: Path) -> Path:
        return pod / "minio" / uri.removeprefix(self.scheme)

    def _download(self, uri: str, pod: Path) -> None:
        stored = self.path(uri)
        for file in stored.rglob("*"):
            if file.is_file():
                target = self._local(uri, pod) / file.relative_to(stored)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target)

    def _upload(self, artifact: JSON, pod: Path) -> None:
        uri = artifact["uri"]
        if not uri.startswith(self.scheme):
            raise ValueError(f"failed to upload output artifact {uri}: not in the bucket")
        for key, value in artifact["metadata"].items():
            if value is None:
                raise ValueError(f"{uri}: metadata {key} has unknown type of value: null")
        local = self._local(uri, pod)
        for file in local.rglob("*"):
            if file.is_file():
                target = self.path(uri) / file.relative_to(local)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target)


def _upstream(task: JSON) -> set[str]:
    artifacts = task.get("inputs", {}).get("artifacts", {}).values()
    producers = {source["taskOutputArtifact"]["producerTask"] for source in artifacts}
    return producers | set(task.get("dependentTasks", []))
