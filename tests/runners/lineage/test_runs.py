import pytest

from modules.contract.errors import UserError
from pipeline.config import Config, load
from runners.lineage.runs import read_run, read_runs


def test_pipeline_without_runs_is_a_user_error(config: Config) -> None:
    with pytest.raises(UserError, match=r"has no runs under .*`bert run` starts one"):
        read_runs(config)


def test_reading_creates_no_database(config: Config, tmp_path) -> None:
    with pytest.raises(UserError):
        read_run(config)
    assert list(tmp_path.rglob("*.sqlite")) == []


def test_runs_come_newest_first(config: Config, add_run) -> None:
    for run_id in ("a1", "a2", "b1"):
        add_run(run_id)
    assert [run.run_id for run in read_runs(config)] == ["b1", "a2", "a1"]
    assert read_run(config).run_id == "b1"
    assert read_run(config, "a1").run_id == "a1"


def test_run_is_selected_by_the_beginning_of_its_id_if_unique(config: Config, add_run) -> None:
    for run_id in ("a1", "a2", "b1"):
        add_run(run_id)
    assert read_run(config, "b").run_id == "b1"
    with pytest.raises(UserError, match="2 runs begin with 'a'"):
        read_run(config, "a")
    with pytest.raises(UserError, match=r"there is no run 'c'; .* the last is b1"):
        read_run(config, "c")


def test_nodes_have_states_and_outputs(config: Config, add_run) -> None:
    add_run("a", pusher="CACHED")
    run = read_run(config)
    assert [(node.name, node.state) for node in run.nodes] == [
        ("SchemaGen", "ran"),
        ("Trainer", "ran"),
        ("Evaluator", "ran"),
        ("Pusher", "cached"),
    ]
    trainer = run.node("Trainer")
    assert trainer is not None
    assert [artifact.uri for artifact in trainer.outputs["model"]] == ["/m/a"]
    pushed = run.artifact("Pusher", "PushedModel")
    assert pushed is not None
    assert pushed.properties["pushed_version"] == "1"
    assert run.state == "succeeded"
    assert run.seconds >= 0


def test_runs_of_another_pipeline_are_left_out(config: Config, metadata, add_run) -> None:
    add_run("mine")
    metadata.add_node("other", "Trainer", pipeline="another")
    assert [run.run_id for run in read_runs(config)] == ["mine"]


def test_pipeline_with_a_longer_name_is_another_pipeline(config: Config, metadata, add_run) -> None:
    add_run("mine")
    metadata.add_node("other", "Trainer", pipeline="test.Trainer")
    assert [run.run_id for run in read_runs(config)] == ["mine"]


def test_failed_node_has_the_first_line_of_its_error(config: Config, metadata) -> None:
    metadata.add_node("a", "Trainer", state="FAILED", error="out of memory\nTraceback ...")
    run = read_run(config)
    assert run.state == "failed"
    assert run.nodes[0].error == "out of memory"


def test_last_attempt_of_a_node_counts(config: Config, metadata) -> None:
    metadata.add_node("a", "Trainer", state="FAILED", error="killed")
    metadata.add_node("a", "Trainer")
    metadata.add_node("a", "Pusher")
    assert [node.state for node in read_run(config).nodes] == ["ran", "ran"]
    assert read_run(config).state == "succeeded"


@pytest.mark.parametrize(
    ("last", "state"), [("RUNNING", "unfinished"), ("COMPLETE", "partial"), ("FAILED", "failed")]
)
def test_state_of_a_run_follows_its_last_node(
    config: Config, metadata, last: str, state: str
) -> None:
    metadata.add_node("a", "ExampleGen")
    metadata.add_node("a", "Trainer", state=last)
    assert read_run(config).state == state


def test_root_may_have_spaces_and_percent_signs(tmp_path, make_metadata) -> None:
    config = load(None, [f"pipeline.root={tmp_path}/a b%20é"], {})
    make_metadata(config).add_node("a", "Trainer")
    assert (tmp_path / "a b%20é" / "metadata.sqlite").is_file()
    assert read_run(config).run_id == "a"
