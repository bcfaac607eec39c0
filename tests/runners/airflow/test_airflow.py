"""The DAG file that `bert compile --runner airflow` writes, without Airflow."""

import ast
import sys

import pytest

from modules.contract.errors import UserError
from pipeline.config import Config, load
from runners.airflow import node, task_order
from runners.airflow import platform as airflow
from runners.airflow.client import AirflowConnection
from runners.remote.config_assignments import assignments

EDGES = {"ExampleGen": [], "StatisticsGen": ["ExampleGen"]}


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> Config:
    """Return a config, and replace the compiler by one without TFX."""
    monkeypatch.setattr(airflow, "edges", lambda config: EDGES)
    return load(
        None,
        [
            'data.path=["a.csv", "b.csv"]',
            'evaluator.floors=[{metric = "macro_f1", min = 0.5, slice = "domain=*"}]',
            'data.slice_columns=["domain"]',
            'airflow.schedule="@daily"',
            "airflow.retries=3",
            "trainer.learning_rate=1e-5",
            "trainer.xla=true",
            "metadata.url=mysql://user:hidden@database:3306/mlmd",
        ],
        {},
    )


def _plan(source: str) -> dict:
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.AnnAssign) and statement.target.id == "PLAN":
            return ast.literal_eval(statement.value)
    raise AssertionError("no PLAN")


def test_dag_file_contains_graph_and_settings(compiled: Config) -> None:
    plan = _plan(airflow.compile_pipeline(compiled))
    assert plan["nodes"] == EDGES
    assert (plan["dag_id"], plan["schedule"], plan["retries"]) == ("bert", "@daily", 3)
    assert plan["python"] == sys.executable


def test_empty_schedule_becomes_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(airflow, "edges", lambda config: EDGES)
    assert _plan(airflow.compile_pipeline(load(None, (), {})))["schedule"] is None


def test_dag_file_contains_no_password(compiled: Config) -> None:
    assert "hidden" not in airflow.compile_pipeline(compiled)


def test_nodes_load_the_same_config(compiled: Config) -> None:
    again = load(None, assignments(compiled, without=("airflow.",)), {})
    differing = {
        name
        for name in type(compiled).model_fields
        if getattr(again, name) != getattr(compiled, name)
    }
    assert differing == {"airflow", "metadata"}


def test_equal_configs_give_equal_dag_files(compiled: Config) -> None:
    assert airflow.compile_pipeline(compiled) == airflow.compile_pipeline(compiled)


@pytest.mark.parametrize("key", ["data.pth", "pipeline.name", "tuner.enabled", "metadata.url"])
def test_parameter_that_a_run_cannot_set_is_refused(key: str) -> None:
    with pytest.raises(UserError, match=rf"airflow\.parameters: .*'{key}'"):
        airflow.check(load(None, [f'airflow.parameters=["{key}"]'], {}))


def test_default_parameters_are_accepted() -> None:
    airflow.check(load(None, (), {}))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ((), "airflow.schedule: must say how often"),
        (("airflow.schedule=@daily", "airflow.catchup=true"), "airflow.catchup: must be false"),
        (("airflow.schedule=@daily", "triggers.schedule=0 0 31 2 *"), "triggers.schedule: must be"),
    ],
)
def test_unworkable_gate_settings_are_refused(settings: tuple[str, ...], words: str) -> None:
    with pytest.raises(UserError, match=words):
        airflow.check(load(None, ["airflow.gated=true", *settings], {}))


def test_gated_dag_with_a_schedule_is_accepted(compiled: Config) -> None:
    assert _plan(airflow.compile_pipeline(compiled))["gated"] is False
    gated = load(None, ["airflow.gated=true", "airflow.schedule=@daily"], {})
    airflow.check(gated)
    assert _plan(airflow.compile_pipeline(gated))["gated"] is True


@pytest.mark.parametrize(
    ("url", "user", "message"),
    [
        ("", "admin", "airflow.url is empty"),
        ("http://127.0.0.1:1", "", "set AIRFLOW_USERNAME and AIRFLOW_PASSWORD"),
        ("http://airflow.example:8080", "admin", "must use https"),
        ("http://127.0.0.1:1", "admin", "cannot be reached"),
    ],
)
def test_bad_connection_is_reported_in_one_line(
    url: str, user: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_USERNAME", user)
    monkeypatch.setenv("AIRFLOW_PASSWORD", "secret")
    with pytest.raises(UserError, match=message) as caught:
        AirflowConnection(load(None, [f'airflow.url="{url}"'], {}))
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("arguments", [[], ["{"], ["[]"], ['{"node": "Trainer"}'], ["{}", "{}"]])
def test_node_refuses_a_malformed_order(arguments: list[str]) -> None:
    with pytest.raises(UserError, match="must receive one JSON object"):
        task_order.read(arguments, "node", "run_id", module="runners.airflow.node")


def test_bad_parameter_ends_the_node_with_exit_code_2(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node.deferred_imports, "install", lambda: None)
    order = (
        '{"node": "Trainer", "run_id": "r", "assignments": [], '
        '"parameters": {"trainer.epochs": "many"}}'
    )
    assert node.main([order]) == 2
    assert capfd.readouterr().err.splitlines()[-1].startswith("trainer.epochs: must be")
