"""The pipeline on a real Airflow: imported, tested, scheduled, submitted over its REST API."""

import contextlib
import os
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.e2e.conftest import REPOSITORY, Workplace

AIRFLOW = REPOSITORY / ".venv-airflow" / "bin" / "airflow"
SECONDS = 240

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not AIRFLOW.exists(), reason="no Airflow here; make env-airflow installs it"
    ),
]


class Airflow:
    """An Airflow of its own in a folder: SQLite, no examples, basic authentication."""

    def __init__(self, home: Path) -> None:
        self.dags = home / "dags"
        self.dags.mkdir(parents=True)
        self.environment = {
            **os.environ,
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__API__AUTH_BACKENDS": "airflow.api.auth.backend.basic_auth",
            "AIRFLOW__SCHEDULER__DAG_DIR_LIST_INTERVAL": "2",
            "AIRFLOW__WEBSERVER__SECRET_KEY": secrets.token_hex(16),
            # Its packages are its own; the executor looks for `airflow` on the path.
            "PATH": f"{AIRFLOW.parent}:{os.environ['PATH']}",
            "PYTHONPATH": "",
        }

    def __call__(self, *arguments: str, check: bool = True) -> str:
        done = subprocess.run(
            [AIRFLOW, *arguments], env=self.environment, capture_output=True, text=True
        )
        assert done.returncode == 0 or not check, done.stdout[-4000:] + done.stderr[-4000:]
        return done.stdout

    @contextlib.contextmanager
    def service(self, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        log = self.dags.parent / f"{arguments[0]}.log"
        with open(log, "wb") as file:
            process = subprocess.Popen(
                [AIRFLOW, *arguments],
                env=self.environment,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
            try:
                yield process
            finally:
                _end(process)


@pytest.fixture(scope="module")
def airflow(tiny: Workplace, tmp_path_factory: pytest.TempPathFactory) -> Airflow:
    """Airflow with the workplace's DAG."""
    found = Airflow(tmp_path_factory.mktemp("airflow"))
    found("db", "migrate")
    done = tiny.bert("compile", "--runner=airflow", f"--output={found.dags / 'bert.py'}")
    assert done.returncode == 0, done.stdout
    return found


def test_the_dag_imports_in_seconds(airflow: Airflow) -> None:
    """Airflow gives a file 30 s; the budget here is a third of it, in CPU time of the import."""
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


def test_dags_test_runs_to_a_pushed_model(airflow: Airflow, tiny: Workplace) -> None:
    airflow("dags", "test", "bert", "2026-01-01")
    assert len(tiny.versions()) == 1
    runs = tiny.bert("runs", "--json").stdout
    assert "manual__2026-01-01T00-00-00-00-00" in runs


def test_a_node_that_a_person_must_mend_fails_the_run_at_once(
    airflow: Airflow, tiny: Workplace
) -> None:
    conf = '{"data.path": "nowhere.csv"}'
    output = airflow("dags", "test", "bert", "2026-01-02", "--conf", conf, check=False)
    assert "Immediate failure requested" in output
    assert "nowhere.csv" in output
    assert len(tiny.versions()) == 1


def test_a_node_that_takes_too_long_is_ended(airflow: Airflow, tiny: Workplace) -> None:
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


def test_submit_starts_a_run_and_watches_it_to_its_end(airflow: Airflow, tiny: Workplace) -> None:
    """With a scheduler and a web server; nodes are cached where the test run before ran."""
    password = secrets.token_hex(8)
    account = ["--username=bert", f"--password={password}", "--role=Admin"]
    names = ["--firstname=B", "--lastname=T", "--email=bert@example.com"]
    airflow("users", "create", *account, *names)
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    os.environ.update(AIRFLOW_USERNAME="bert", AIRFLOW_PASSWORD=password)
    server = ["webserver", f"--port={port}", "--hostname=127.0.0.1", "--workers=1"]
    try:
        with airflow.service(*server), airflow.service("scheduler"):
            _wait_for_dag(url, password)
            paused = tiny.bert("submit", "--runner=airflow", airflow__url=url)
            assert paused.returncode == 2, paused.stdout
            assert "airflow dags unpause bert" in paused.stdout
            airflow("dags", "unpause", "bert")
            other = tiny.bert("submit", "--runner=airflow", airflow__url=url, trainer__epochs=2)
            assert other.returncode == 2, other.stdout
            assert "compiled from other settings" in other.stdout
            done = tiny.bert("submit", "--runner=airflow", "--watch", airflow__url=url)
            assert done.returncode == 0, done.stdout
            assert "Pusher: success" in done.stdout
    finally:
        del os.environ["AIRFLOW_USERNAME"], os.environ["AIRFLOW_PASSWORD"]
    assert len(tiny.versions()) == 1, "the second run found everything cached"


def _end(service: subprocess.Popen[bytes]) -> None:
    """End a service and all that it started, some of it in process groups of their own."""
    family = [*psutil.Process(service.pid).children(recursive=True), psutil.Process(service.pid)]
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    service.wait()


def _is_node_of(process: psutil.Process, workplace: Workplace) -> bool:
    try:
        in_folder = process.cwd() == str(workplace.folder)
        return in_folder and "runners.node" in process.cmdline()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def _wait_for_dag(url: str, password: str) -> None:
    """Until the web server answers and the scheduler has read the DAG file."""
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
