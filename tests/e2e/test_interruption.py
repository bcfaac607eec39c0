"""A run killed with ``kill -9`` at any point resumes when the command is repeated."""

import json

import pytest

from tests.e2e.conftest import Workplace

pytestmark = pytest.mark.slow

NODES = (
    "ExampleGen",
    "StatisticsGen",
    "SchemaGen",
    "ExampleValidator",
    "Transform",
    "Tuner",
    "Trainer",
    "Evaluator",
    "InfraValidator",
    "Pusher",
)
TUNED = {
    "tuner__enabled": "true",
    "tuner__algorithm": "grid",
    "tuner__epochs": "1",
    "tuner__search_space": "{batch_size = {values = [16, 32]}}",
}


def test_killed_run_resumes_where_it_stopped(tiny: Workplace) -> None:
    """Kill the run in each component in turn: components that had finished never run again."""
    for node in NODES:
        tiny.kill_in(node, **TUNED)
        assert len(tiny.versions()) <= 1
    states = tiny.run(**TUNED)
    before_pusher = {name: states[name] for name in NODES[:-1]}
    assert set(before_pusher.values()) == {"cached"}
    # The last kill may have happened just before or just after the push.
    assert states["Pusher"] in {"ran", "cached"}
    assert len(tiny.versions()) == 1
    hidden = [entry.name for entry in tiny.models.iterdir() if not entry.name.isdigit()]
    assert not [name for name in hidden if (tiny.models / name / "saved_model.pb").exists()]


def test_model_has_the_best_hyper_parameters_of_the_search(tiny: Workplace) -> None:
    [results] = tiny.root.glob("Tuner/tuner_results/*/tuner_results.json")
    trials = json.loads(results.read_text())
    assert sorted(trial["batch_size"] for trial in trials) == [16, 32]
    [version] = tiny.versions()
    card = json.loads((tiny.models / version / "assets.extra" / "model_card.json").read_text())
    assert card["hparams"]["batch_size"] == trials[0]["batch_size"]
    shown = tiny.bert("show", **TUNED)
    assert f"2 trials, the best scores {trials[0]['score']:.4f}" in shown.stdout


def test_unpublished_artifact_is_never_an_input(tiny: Workplace) -> None:
    """Every input of every execution is the output of a completed execution."""
    from ml_metadata import metadata_store
    from ml_metadata.proto import metadata_store_pb2 as proto

    from pipeline.metadata_store import connection_config

    url = f"sqlite:///{tiny.root}/metadata.sqlite"
    store = metadata_store.MetadataStore(connection_config(url))
    executions = {execution.id: execution for execution in store.get_executions()}
    events = store.get_events_by_execution_ids(list(executions))
    finished = {proto.Execution.COMPLETE, proto.Execution.CACHED}
    published = {
        event.artifact_id
        for event in events
        if event.type == proto.Event.OUTPUT
        and executions[event.execution_id].last_known_state in finished
    }
    used = {event.artifact_id for event in events if event.type == proto.Event.INPUT}
    assert used
    assert used <= published
    states = {execution.last_known_state for execution in executions.values()}
    assert proto.Execution.RUNNING in states, "no run was killed during a component"
