"""Pipeline runs, their nodes and artifacts, read from ML Metadata.

The store is read directly and not through TFX, because importing TFX takes seconds. Filter queries
are avoided, because ml-metadata 1.21 is built without the parser that they need.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from modules.contract.errors import UserError
from pipeline.config import Config
from runners.lineage.records import Artifact, NodeRun, Run

#: Execution state of ML Metadata -> ``NodeRun.state``.
_STATES = {
    "COMPLETE": "ran",
    "CACHED": "cached",
    "FAILED": "failed",
    "CANCELED": "failed",
    "RUNNING": "unfinished",
    "NEW": "unfinished",
}
_RESULT_PROPERTY = "__execution_result__"


class NothingRanError(UserError):
    """The pipeline has no run yet."""

    def __init__(self, config: Config) -> None:
        name, root = config.pipeline.name, config.pipeline_root()
        super().__init__(f"pipeline {name!r} has no runs under {root}; `bert run` starts one")


def read_runs(config: Config, *, with_outputs: Iterable[str] = ()) -> list[Run]:
    """Read all runs of the config's pipeline, the newest first.

    Args:
        config: gives the pipeline and its metadata.
        with_outputs: ids of nodes whose outputs are read too.

    Raises:
        NothingRanError: nothing has run yet.
    """
    reader, wanted = _Reader(config), set(with_outputs)
    return [reader.run(name, wanted) for name in reader.run_ids()]


def read_run(config: Config, run_id: str | None = None) -> Run:
    """Read one run with all outputs.

    Args:
        config: gives the pipeline and its metadata.
        run_id: the run's id, or its beginning; None is the last run.

    Raises:
        UserError: the run does not exist, or several ids begin like that.
    """
    reader = _Reader(config)
    names = reader.run_ids()
    if run_id is None:
        return reader.run(names[0])
    matching = [name for name in names if name == run_id] or [
        name for name in names if name.startswith(run_id)
    ]
    if len(matching) != 1:
        problem = f"{len(matching)} runs begin with" if matching else "there is no run"
        raise UserError(f"{problem} {run_id!r}; `bert runs` lists them, the last is {names[0]}")
    return reader.run(matching[0])


class _Reader:
    """Reader of one pipeline's runs in a metadata store."""

    def __init__(self, config: Config) -> None:
        url = urlsplit(config.metadata_url())
        if url.scheme == "sqlite" and not Path(unquote(url.path[1:])).is_file():
            raise NothingRanError(config)
        from ml_metadata import MetadataStore

        from pipeline.metadata_store import connection_config

        self._store = MetadataStore(connection_config(config.metadata_url()))
        pipeline = self._store.get_context_by_type_and_name("pipeline", config.pipeline.name)
        if pipeline is None:
            raise NothingRanError(config)
        self._own = {run.id for run in self._store.get_executions_by_context(pipeline.id)}
        self._nodes = {
            execution.id: context.name.removeprefix(f"{config.pipeline.name}.")
            for context in self._store.get_contexts_by_type("node")
            for execution in self._store.get_executions_by_context(context.id)
        }
        self._executions = self._executions_by_run()
        if not self._executions:
            raise NothingRanError(config)

    def _executions_by_run(self) -> dict[str, list[Any]]:
        found = {}
        contexts = self._store.get_contexts_by_type("pipeline_run")
        for context in sorted(contexts, key=lambda context: context.id, reverse=True):
            own = [
                execution
                for execution in self._store.get_executions_by_context(context.id)
                if execution.id in self._own and execution.id in self._nodes
            ]
            if own:
                found[context.name] = own
        return found

    def run_ids(self) -> list[str]:
        return list(self._executions)

    def run(self, name: str, with_outputs: set[str] | None = None) -> Run:
        """Read a run; if ``with_outputs`` is None, with the outputs of every node."""
        # Of a node that was retried within the run, only the last attempt counts.
        last = {
            self._nodes[execution.id]: execution
            for execution in sorted(self._executions[name], key=lambda execution: execution.id)
        }
        wanted = [
            execution.id
            for node, execution in last.items()
            if with_outputs is None or node in with_outputs
        ]
        outputs = self._outputs(wanted)
        nodes = (
            _node_run(node, execution, outputs.get(execution.id, {}))
            for node, execution in last.items()
        )
        return Run(name, tuple(sorted(nodes, key=lambda node: node.started)))

    def _outputs(self, execution_ids: list[int]) -> dict[int, dict[str, list[Artifact]]]:
        if not execution_ids:
            return {}
        from ml_metadata.proto import metadata_store_pb2

        events = [
            event
            for event in self._store.get_events_by_execution_ids(execution_ids)
            if event.type == metadata_store_pb2.Event.OUTPUT
        ]
        artifacts = {
            artifact.id: artifact
            for artifact in self._store.get_artifacts_by_id({event.artifact_id for event in events})
        }
        found: dict[int, dict[str, list[Artifact]]] = {}
        for event in events:
            key = next((step.key for step in event.path.steps if step.HasField("key")), "")
            artifact = artifacts[event.artifact_id]
            record = Artifact(artifact.type, artifact.uri, _properties(artifact))
            found.setdefault(event.execution_id, {}).setdefault(key, []).append(record)
        return found


def _node_run(name: str, execution: Any, outputs: dict[str, list[Artifact]]) -> NodeRun:
    from ml_metadata.proto import metadata_store_pb2

    state = metadata_store_pb2.Execution.State.Name(execution.last_known_state)
    started = execution.create_time_since_epoch / 1000
    return NodeRun(
        name=name,
        state=_STATES.get(state, state.lower()),
        started=started,
        seconds=max(0.0, execution.last_update_time_since_epoch / 1000 - started),
        outputs=outputs,
        error=_error(execution) if state == "FAILED" else "",
        parameters={
            name: value
            for name, value in _properties(execution).items()
            if not name.startswith("__")  # TFX's own
        },
    )


def _error(execution: Any) -> str:
    """Return the first line of the message that TFX stored with a failed execution."""
    if _RESULT_PROPERTY not in execution.custom_properties:
        return ""
    result = _value(execution.custom_properties[_RESULT_PROPERTY])
    try:
        message = json.loads(result).get("resultMessage", "")
    except (TypeError, ValueError):
        message = str(result)
    lines = message.strip().splitlines()
    return lines[0] if lines else ""


def _properties(record: Any) -> dict[str, Any]:
    return {
        name: _value(value)
        for values in (record.properties, record.custom_properties)
        for name, value in values.items()
    }


def _value(value: Any) -> Any:
    """Return a property as a JSON type."""
    kind = value.WhichOneof("value")
    if kind == "struct_value":
        from google.protobuf import json_format

        return json_format.MessageToDict(value.struct_value)
    if kind == "proto_value":
        return value.proto_value.type_url
    return getattr(value, kind) if kind else None
