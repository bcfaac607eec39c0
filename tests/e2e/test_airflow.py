"""The pipeline on a real Airflow: imported, tested, scheduled and submitted over its REST API."""

import contextlib
import json
import os
import secrets
import socket
import subprocess
import time

import httpx
import psutil
import pytest

from runners.triggers.poll import NOTHING_DUE
from tests.e2e.airflow_service import AIRFLOW, Airflow
from tests.e2e.conftest import Workplace

SECONDS = 240

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(
        not AIRFLOW.exists(), reason="Airflow is not installed; run make env-airflow"
    ),
]


@pytest.fixture(scope="module")
def airflow(tiny: Workplace, tmp_path_factory: pytest.TempPathFactory) -> Airflow:
    """Set up Airflow with the workplace's DAG."""
    found = Airflow(tmp_path_factory.mktemp("airflow"))
    found("db", "migrate")
    done = tiny.bert("compile", "--runner=airflow", f"--output={found.dags / 'bert.py'}")
    assert done.returncode == 0, done.stdout
    return found


def test_dag_file_imports_within_its_budget(airflow: Airflow) -> None:
    """Airflow allows 30 s per file; this budget is a third of it, in CPU time of the import."""
    script = (
        "import sys, time; import airflow.models; started = time.process_time(); "
        "import runpy; dag = runpy.run_path(sys.argv[1])['dag']; "
        "print(time.process_time() - started, len(dag.tasks), 'tensorflow' in sys.modules)"
    )
    done = subprocess.run(
        [AIRFLOW.with_name("python"), "-c", script, airflow.dags / "bert.py"],
        env=airflow.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, tasks, tensorflow = done.stdout.split()[-3:]
    assert float(seconds) < 10
    assert int(tasks) == 10
    assert tensorflow == "False"
    assert "No data found" in airflow("dags", "list-import-errors")


def test_bash_operator_skips_on_the_exit_code_for_nothing_due(airflow: Airflow) -> None:
    script = (
        "from airflow.operators.bash import BashOperator; "
        "print(BashOperator(task_id='watch', bash_command='true').skip_on_exit_code)"
    )
    done = subprocess.run(
        [AIRFLOW.with_name("python"), "-c", script],
        env=airflow.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split()[-1] == f"[{NOTHING_DUE}]"


def test_dags_test_pushes_a_model(airflow: Airflow, tiny: Workplace) -> None:
    airflow("dags", "test", "bert", "2026-01-01")
    assert len(tiny.versions()) == 1
    runs = tiny.bert("runs", "--json").stdout
    assert "manual__2026-01-01T00-00-00-00-00" in runs


def test_user_error_fails_the_run_without_retries(airflow: Airflow, tiny: Workplace) -> None:
    conf = '{"data.path": "nowhere.csv"}'
    output = airflow("dags", "test", "bert", "2026-01-02", "--conf", conf, check=False)
    assert "Immediate failure requested" in output
    assert "nowhere.csv" in output
    assert len(tiny.versions()) == 1


def test_node_over_its_timeout_is_ended(airflow: Airflow, tiny: Workplace) -> None:
    file = airflow.dags / "hasty.py"
    settings = {"pipeline__name": "hasty", "airflow__timeout_seconds": 1, "airflow__retries": 0}
    done = tiny.bert("compile", "--runner=airflow", f"--output={file}", **settings)
    assert done.returncode == 0, done.stdout
    output = airflow("dags", "test", "hasty", "2026-01-03", check=False)
    file.unlink()
    assert "AirflowTaskTimeout" in output
    assert "Marking task as FAILED" in output
    left = [process for process in psutil.process_iter() if _is_node_of(process, tiny)]
    assert psutil.wait_procs(left, timeout=30)[1] == []


#: Settings of the gated DAG, for all tests below.
GATED = {
    "airflow__gated": "true",
    "airflow__schedule": "@daily",
    "airflow__retries": 0,
    "triggers__drift": "false",
    "triggers__cooldown_minutes": 0,
    "triggers__runs_per_day": 2,
}
POLL = ("--conf", '{"gated": true}')


@pytest.fixture(scope="module")
def gated(airflow: Airflow, tiny: Workplace) -> Airflow:
    """Compile the gated DAG, and poll once with data unlike that of the earlier runs."""
    file = airflow.dags / "bert.py"
    done = tiny.bert("compile", "--runner=airflow", f"--output={file}", **GATED)
    assert done.returncode == 0, done.stdout
    reviews = tiny.folder / "reviews.csv"
    reviews.rename(tiny.folder / "whole.csv")
    lines = (tiny.folder / "whole.csv").read_bytes().splitlines(keepends=True)
    _deliver(tiny, b"".join(lines[:100]))
    airflow("dags", "test", "bert", "2026-02-01", *POLL)
    return airflow


def test_nodes_are_skipped_when_nothing_is_due(gated: Airflow, tiny: Workplace) -> None:
    run_id, _, state = gated.runs("bert")[-1]
    assert state == "success"
    tasks = gated.tasks(run_id)
    assert tasks.pop("is_due") == "success"
    assert len(tasks) == 11, "ten nodes and the last task"
    assert set(tasks.values()) == {"skipped"}
    [decision] = _decisions(tiny)
    assert (decision["started"], decision["reason"]) == (False, "no trigger fired")


def test_due_run_finishes_and_is_recorded(gated: Airflow, tiny: Workplace) -> None:
    """The data is that of the first run again, so all nodes are cached."""
    _deliver(tiny, (tiny.folder / "whole.csv").read_bytes())
    gated("dags", "test", "bert", "2026-02-02", *POLL)
    run_id, _, state = gated.runs("bert")[-1]
    assert state == "success"
    assert set(gated.tasks(run_id).values()) == {"success"}
    decision = _decisions(tiny)[0]
    assert decision["reason"] == "started by new_data: the data files have changed"
    assert decision["run"]["external_id"] == run_id
    assert decision["run"]["state"] == "succeeded"
    shown = json.loads(tiny.bert("show", "manual__2026-02-02T00-00-00-00-00", "--json").stdout)
    states = {node["name"]: node["state"] for node in shown["nodes"]}
    assert states.pop("Resolver") == "ran", "it is never cached"
    assert set(states.values()) == {"cached"}


def test_failed_due_run_is_recorded_as_failed_everywhere(gated: Airflow, tiny: Workplace) -> None:
    _deliver(tiny, b"text,label\ngood,positive\n")
    gated("dags", "test", "bert", "2026-02-03", *POLL, check=False)
    run_id, _, state = gated.runs("bert")[-1]
    assert state == "failed", "the success of the last task must not hide the failure"
    tasks = gated.tasks(run_id)
    assert (tasks["is_due"], tasks["ExampleGen"], tasks["record_end"]) == (
        "success",
        "failed",
        "success",
    )
    [decision, *_] = _decisions(tiny)
    assert decision["run"]["state"] == "failed"
    assert decision["run"]["details"]["sentence"] == "ExampleGen failed"


def test_manual_run_is_not_gated(gated: Airflow, tiny: Workplace) -> None:
    """With the data of the test before, the nodes run without a decision."""
    before = _decisions(tiny)
    gated("dags", "test", "bert", "2026-02-04", check=False)
    tasks = gated.tasks(gated.runs("bert")[-1][0])
    assert (tasks["is_due"], tasks["ExampleGen"]) == ("success", "failed")
    assert _decisions(tiny) == before
    _deliver(tiny, (tiny.folder / "whole.csv").read_bytes())


def test_scheduled_run_is_gated_and_a_submitted_run_is_not(gated: Airflow, tiny: Workplace) -> None:
    """Run a scheduler and a web server; the nodes of earlier runs are cached."""
    password = secrets.token_hex(8)
    account = ["--username=bert", f"--password={password}", "--role=Admin"]
    names = ["--firstname=B", "--lastname=T", "--email=bert@example.com"]
    gated("users", "create", *account, *names)
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    os.environ.update(AIRFLOW_USERNAME="bert", AIRFLOW_PASSWORD=password)
    server = ["webserver", f"--port={port}", "--hostname=127.0.0.1", "--workers=1"]
    submit = ["submit", "--runner=airflow"]
    try:
        with gated.service(*server), gated.service("scheduler"):
            _wait_for_dag(url, password)
            paused = tiny.bert(*submit, airflow__url=url, **GATED)
            assert paused.returncode == 2, paused.stdout
            assert "airflow dags unpause bert" in paused.stdout
            gated("dags", "unpause", "bert")
            other = tiny.bert(*submit, airflow__url=url, **GATED, trainer__epochs=2)
            assert other.returncode == 2, other.stdout
            assert "different settings or code" in other.stdout
            done = tiny.bert(*submit, "--watch", airflow__url=url, **GATED)
            assert done.returncode == 0, done.stdout
            assert "Pusher: success" in done.stdout
    finally:
        del os.environ["AIRFLOW_USERNAME"], os.environ["AIRFLOW_PASSWORD"]
    assert len(tiny.versions()) == 1, "everything in the second run is cached"
    [(scheduled, state)] = [(r, s) for r, kind, s in gated.runs("bert") if kind == "scheduled"]
    assert state == "success"
    assert gated.tasks(scheduled)["ExampleGen"] == "skipped"
    assert "2 of 2 runs started within 24 hours" in _decisions(tiny)[0]["reason"]


def _deliver(workplace: Workplace, content: bytes) -> None:
    """Write the data file with an old modification time, so that it counts as complete."""
    path = workplace.folder / "reviews.csv"
    path.write_bytes(content)
    os.utime(path, (time.time() - 60,) * 2)


def _decisions(workplace: Workplace) -> list[dict]:
    done = workplace.bert("decisions", "--json")
    assert done.returncode == 0, done.stdout
    return json.loads(done.stdout)


def _is_node_of(process: psutil.Process, workplace: Workplace) -> bool:
    try:
        in_folder = process.cwd() == str(workplace.folder)
        return in_folder and "runners.airflow.node" in process.cmdline()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def _wait_for_dag(url: str, password: str) -> None:
    """Wait until the web server answers and the scheduler has read the DAG file."""
    deadline = time.monotonic() + SECONDS
    status: object = None
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.HTTPError):
            answer = httpx.get(f"{url}/api/v1/dags/bert", auth=("bert", password))
            status = answer.status_code
            if status == 200:
                return
        time.sleep(1)
    pytest.fail(f"the DAG did not appear in {SECONDS} s; the last answer was {status}")


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
