"""Fixtures: a config in a temporary folder, and runs recorded as by TFX's launcher."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import Config, load


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return load(
        assignments=[
            f"pipeline.root={tmp_path}/root",
            f"pusher.base_directory={tmp_path}/serving",
            "pipeline.name=test",
        ],
        environ={},
    )


class MetadataWriter:
    """Writer of runs into a metadata store, as by TFX's launcher."""

    def __init__(self, config: Config) -> None:
        from ml_metadata import MetadataStore

        from pipeline.metadata_store import connection_config

        Path(config.pipeline_root()).mkdir(parents=True, exist_ok=True)
        self.config = config
        self.store = MetadataStore(connection_config(config.metadata_url()))

    def add_node(
        self,
        run_id: str,
        node: str,
        state: str = "COMPLETE",
        outputs: Mapping[str, tuple[str, str, Mapping[str, Any]]] | None = None,
        error: str = "",
        pipeline: str = "",
        parameters: Mapping[str, str] | None = None,
    ) -> None:
        """Record one execution; ``outputs``: key -> (artifact type, uri, custom properties)."""
        from ml_metadata.proto import metadata_store_pb2 as pb

        pipeline = pipeline or self.config.pipeline.name
        type_id = self.store.put_execution_type(pb.ExecutionType(name=f"tfx.{node}"))
        execution = pb.Execution(type_id=type_id, last_known_state=pb.Execution.State.Value(state))
        if error:
            result = json.dumps({"resultMessage": error, "code": 1})
            execution.custom_properties["__execution_result__"].string_value = result
        for name, value in (parameters or {}).items():
            execution.custom_properties[name].string_value = value
        contexts = [
            self._context("pipeline", pipeline),
            self._context("pipeline_run", run_id),
            self._context("node", f"{pipeline}.{node}"),
        ]
        artifacts = []
        for key, (artifact_type, uri, properties) in (outputs or {}).items():
            artifact = pb.Artifact(
                type_id=self.store.put_artifact_type(pb.ArtifactType(name=artifact_type)), uri=uri
            )
            for name, value in properties.items():
                kind = "int_value" if isinstance(value, int) else "string_value"
                setattr(artifact.custom_properties[name], kind, value)
            event = pb.Event(type=pb.Event.OUTPUT)
            event.path.steps.add().key = key
            event.path.steps.add().index = 0
            artifacts.append((artifact, event))
        self.store.put_execution(execution, artifacts, contexts)

    def _context(self, kind: str, name: str) -> Any:
        from ml_metadata.proto import metadata_store_pb2 as pb

        found = self.store.get_context_by_type_and_name(kind, name)
        if found is not None:
            return found
        type_id = self.store.put_context_type(pb.ContextType(name=kind))
        context = pb.Context(type_id=type_id, name=name)
        [context.id] = self.store.put_contexts([context])
        return context


@pytest.fixture
def make_metadata() -> type[MetadataWriter]:
    return MetadataWriter


@pytest.fixture
def metadata(config: Config) -> MetadataWriter:
    return MetadataWriter(config)


@pytest.fixture
def add_run(metadata: MetadataWriter, tmp_path: Path) -> Callable[..., None]:
    """Return a function that records a run whose model was evaluated and, if blessed, pushed."""

    def add(
        run_id: str, *, blessed: bool = True, version: str = "1", pusher: str = "COMPLETE"
    ) -> None:
        folder = tmp_path / "evaluation" / run_id
        folder.mkdir(parents=True)
        (folder / "decision.json").write_text(json.dumps(decision(blessed)))
        (folder / "metrics.json").write_text(json.dumps(METRICS))
        metadata.add_node(run_id, "SchemaGen", outputs={"schema": ("Schema", str(folder), {})})
        metadata.add_node(run_id, "Trainer", outputs={"model": ("Model", f"/m/{run_id}", {})})
        metadata.add_node(
            run_id, "Evaluator", outputs={"evaluation": ("ModelEvaluation", str(folder), {})}
        )
        pushed = {"pushed": 0}
        if blessed:
            pushed = {
                "pushed": 1,
                "pushed_version": version,
                "pushed_destination": f"{metadata.config.push_directory()}/{version}",
            }
        outputs = {"pushed_model": ("PushedModel", f"/p/{run_id}", pushed)}
        metadata.add_node(run_id, "Pusher", state=pusher, outputs=outputs)

    return add


def decision(blessed: bool) -> dict[str, Any]:
    verdict = "blessed" if blessed else "rejected: too bad"
    return {
        "blessed": blessed,
        "metric": "accuracy",
        "candidate": 0.9,
        "baseline": 0.85,
        "sentences": ["Compared on 100 test examples.", f"The candidate is {verdict}."],
    }


METRICS: dict[str, Any] = {
    "labels": ["neg", "pos"],
    "models": {
        "candidate": {
            "slices": {
                "": {"examples": 100, "accuracy": 0.9, "auc": None, "classes": {"neg": {}}},
                "label=neg": {"examples": 50, "accuracy": 0.8, "auc": None, "classes": {}},
            },
            "confusion_matrix": [[40, 10], [0, 50]],
        },
        "baseline": {"slices": {"": {"examples": 100, "accuracy": 0.85, "classes": {}}}},
    },
}
