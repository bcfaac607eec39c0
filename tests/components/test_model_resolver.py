"""The baseline is the last pushed model, never a rejected one or the candidate itself."""

from typing import Any

import pytest
from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2
from tfx import types
from tfx.types import artifact_utils, standard_artifacts

from components.model_resolver import LastPushedModelStrategy, make_model_resolver

Event = metadata_store_pb2.Event


class Lineage:
    """Writer of the ml-metadata records that a pipeline's runs create."""

    def __init__(self, store: MetadataStore) -> None:
        self.store = store
        self.pushes: list[types.Artifact] = []
        kind = metadata_store_pb2.ExecutionType(name="Pusher")
        self._pusher = store.put_execution_type(kind)

    def train(self) -> types.Artifact:
        return self._put(standard_artifacts.Model())

    def push(self, model: types.Artifact, pushed: bool = True) -> types.Artifact:
        """Record a Pusher execution; ``pushed=False``: the model was rejected."""
        artifact = standard_artifacts.PushedModel()
        artifact.set_int_custom_property("pushed", int(pushed))
        push = self._put(artifact)
        blessing = self._put(standard_artifacts.ModelBlessing())
        self.execute({"model_blessing": blessing, "model": model}, push)
        self.pushes.append(push)
        return push

    def execute(self, inputs: dict[str, types.Artifact], output: types.Artifact) -> None:
        [execution] = self.store.put_executions(
            [metadata_store_pb2.Execution(type_id=self._pusher)]
        )
        events = [_event(execution, artifact, Event.INPUT, key) for key, artifact in inputs.items()]
        self.store.put_events([*events, _event(execution, output, Event.OUTPUT, "pushed_model")])

    def _put(self, artifact: types.Artifact) -> types.Artifact:
        type_id = self.store.put_artifact_type(artifact.artifact_type, can_add_fields=True)
        artifact.type_id = type_id
        [artifact_id] = self.store.put_artifacts([artifact.mlmd_artifact])
        [stored] = self.store.get_artifacts_by_id([artifact_id])
        [kind] = self.store.get_artifact_types_by_id([type_id])
        return artifact_utils.deserialize_artifact(kind, stored)


class PlainLookups:
    """Metadata store that supports only lookups by id, like ml-metadata without ZetaSQL."""

    ALLOWED = frozenset(
        {
            "get_events_by_artifact_ids",
            "get_events_by_execution_ids",
            "get_artifacts_by_id",
            "get_artifact_types_by_id",
        }
    )

    def __init__(self, store: MetadataStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        assert name in self.ALLOWED, f"{name} may need a filter query"
        return getattr(self._store, name)


def _event(
    execution: int, artifact: types.Artifact, kind: "Event.Type.ValueType", key: str
) -> metadata_store_pb2.Event:
    event = Event(artifact_id=artifact.id, execution_id=execution, type=kind)
    event.path.steps.add().key = key
    event.path.steps.add().index = 0
    return event


@pytest.fixture
def lineage(tmp_path: Any) -> Lineage:
    config = metadata_store_pb2.ConnectionConfig()
    config.sqlite.filename_uri = str(tmp_path / "metadata.sqlite")
    config.sqlite.connection_mode = 3  # read, write, create
    return Lineage(MetadataStore(config))


def resolve(lineage: Lineage, *candidates: types.Artifact) -> dict[str, list[int]]:
    answer = LastPushedModelStrategy().resolve_artifacts(
        PlainLookups(lineage.store),  # type: ignore[arg-type]
        {"model": list(candidates), "pushed_model": list(lineage.pushes)},
    )
    return {key: [artifact.id for artifact in artifacts] for key, artifacts in answer.items()}


def test_first_run_has_no_baseline(lineage: Lineage) -> None:
    assert resolve(lineage, lineage.train()) == {"model": [], "pushed_model": []}


def test_last_pushed_model_is_the_baseline(lineage: Lineage) -> None:
    lineage.push(lineage.train())
    second = lineage.train()
    push = lineage.push(second)
    assert resolve(lineage, lineage.train()) == {"model": [second.id], "pushed_model": [push.id]}


def test_rejected_models_are_skipped(lineage: Lineage) -> None:
    good = lineage.train()
    push = lineage.push(good)
    for _ in range(3):
        lineage.push(lineage.train(), pushed=False)
    assert resolve(lineage, lineage.train()) == {"model": [good.id], "pushed_model": [push.id]}


def test_model_pushed_between_rejected_ones_is_found(lineage: Lineage) -> None:
    lineage.push(lineage.train(), pushed=False)
    good = lineage.train()
    lineage.push(good)
    lineage.push(lineage.train(), pushed=False)
    assert resolve(lineage, lineage.train())["model"] == [good.id]


def test_there_is_no_baseline_if_nothing_was_pushed(lineage: Lineage) -> None:
    for _ in range(2):
        lineage.push(lineage.train(), pushed=False)
    assert resolve(lineage, lineage.train()) == {"model": [], "pushed_model": []}


def test_model_without_a_pusher_execution_is_not_a_baseline(lineage: Lineage) -> None:
    pushed = lineage.train()
    lineage.push(pushed)
    lineage.train()  # its run was stopped before the Pusher
    assert resolve(lineage, lineage.train())["model"] == [pushed.id]


def test_pushed_candidate_keeps_its_baseline(lineage: Lineage) -> None:
    first, second = lineage.train(), lineage.train()
    lineage.push(first)
    assert resolve(lineage, second)["model"] == [first.id]
    lineage.push(second)
    assert resolve(lineage, second)["model"] == [first.id]


def test_only_pushed_model_has_no_baseline_when_rerun(lineage: Lineage) -> None:
    first = lineage.train()
    lineage.push(first)
    assert resolve(lineage, first)["model"] == []


def test_output_shared_with_a_cached_pusher_is_resolved(lineage: Lineage) -> None:
    model = lineage.train()
    push = lineage.push(model)
    lineage.execute({"model": model}, push)  # in the second run, the Pusher was cached
    assert resolve(lineage, lineage.train())["model"] == [model.id]


def test_newest_of_several_models_is_the_candidate(lineage: Lineage) -> None:
    first, second = lineage.train(), lineage.train()
    lineage.push(first)
    lineage.push(second)
    assert resolve(lineage, first, second)["model"] == [first.id]


def test_push_listed_twice_counts_once(lineage: Lineage) -> None:
    model = lineage.train()
    lineage.push(model)
    lineage.pushes *= 2
    assert resolve(lineage, lineage.train())["model"] == [model.id]


def test_node_outputs_models() -> None:
    node = make_model_resolver(model=types.Channel(type=standard_artifacts.Model))
    assert node.id == "Resolver"
    assert node.outputs["model"].type is standard_artifacts.Model
