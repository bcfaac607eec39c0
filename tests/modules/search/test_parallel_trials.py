"""A search in several processes: shared trials, killed workers, aborted searches.

keras-tuner's messages are sent over real gRPC. Unless a process has to die, threads are used.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from modules import tuning
from modules.contract.errors import ModelError, UserError
from modules.contract.hparams import TunerSettings
from modules.search import parallel_trials
from modules.search.finished_trials import FinishedTrials
from modules.search.parallel_trials import TrialGroup
from modules.search.search_space import make_hyperparameters
from tests.modules.search import trial_process
from tests.modules.test_tuning import SPACE
from tests.modules.tiny_runs import make_run

#: Every process imports TensorFlow first; on a busy machine that alone takes a minute.
SECONDS = 300


def free_address() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def key(values: dict[str, Any]) -> tuple[Any, ...]:
    return values["batch_size"], values["learning_rate"], values.get("tuner/epochs")


class Searches:
    """Tuners of one group, in one thread each.

    Args:
        make: creates the tuner for a place in a group.
        count: number of tuners.
    """

    def __init__(self, make: Callable[[TrialGroup], Any], count: int = 2) -> None:
        address = free_address()
        self.tuners = [make(TrialGroup(index, count, address)) for index in range(count)]
        self.errors: list[Exception | None] = [None] * count

    def run(self) -> None:
        """Run the search of all tuners."""
        threads = [
            threading.Thread(target=self._search, args=(index,), daemon=True)
            for index in range(len(self.tuners))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SECONDS)
            assert not thread.is_alive()

    def _search(self, index: int) -> None:
        try:
            self.tuners[index].search()
        except Exception as error:
            self.errors[index] = error


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, tuple[Any, ...]]]:
    """Record thread and values of each trial. Trials take a moment, so that all tuners get some."""
    trials: list[tuple[str, tuple[Any, ...]]] = []

    def run_trial(
        run: Any, settings: TunerSettings, values: dict[str, Any], number: int
    ) -> dict[str, float]:
        trials.append((threading.current_thread().name, key(values)))
        time.sleep(0.3)
        return {"val_accuracy": values["batch_size"] / 100 + (values["learning_rate"] > 1e-3) / 2}

    monkeypatch.setattr(tuning, "run_trial", run_trial)
    return trials


@pytest.fixture
def maker(tiny_bert: str, tmp_path: Path) -> Callable[..., Callable[[TrialGroup], Any]]:
    run = make_run(tiny_bert, epochs=1)

    def make(**changes: Any) -> Callable[[TrialGroup], Any]:
        settings = TunerSettings(
            **{"objective": "val_accuracy", "search_space": SPACE, "max_trials": 4, **changes}
        )
        return lambda group: tuning.make_tuner(
            run, settings, make_hyperparameters(settings), str(tmp_path / "search"), group
        )

    return make


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the pause between polls, because these trials are short."""
    monkeypatch.setattr(parallel_trials, "_POLL_SECONDS", 0.05)


@pytest.mark.parametrize("algorithm", ["random", "grid", "hyperband", "bayesian"])
def test_all_processes_run_trials_and_none_is_repeated(
    maker: Any, tried: list[Any], tmp_path: Path, algorithm: Any
) -> None:
    """In Hyperband, a process must wait for the results of all trials of earlier rounds."""
    searches = Searches(maker(algorithm=algorithm, epochs=3), count=3)
    searches.run()
    assert searches.errors == [None, None, None]
    trials = searches.tuners[0].oracle.trials.values()
    assert {trial.status for trial in trials} == {"COMPLETED"}
    assert sorted(values for _, values in tried) == sorted(
        key(trial.hyperparameters.values) for trial in trials
    )
    assert len({thread for thread, _ in tried}) > 1
    best = searches.tuners[0].get_best_hyperparameters()[0].values
    assert (best["batch_size"], best["learning_rate"]) == (30, 1e-2)
    assert [tuner.reports for tuner in searches.tuners] == [True, False, False]
    assert list(tmp_path.iterdir()) == []


def test_finished_trials_are_not_repeated_after_a_restart(
    maker: Any, tried: list[Any], tmp_path: Path
) -> None:
    kept = FinishedTrials(str(tmp_path / "search" / "finished_trials"))
    kept.add({"batch_size": 30, "learning_rate": 1e-9}, {"val_accuracy": 0.99})
    searches = Searches(maker(algorithm="grid"))
    searches.run()
    assert len(searches.tuners[0].oracle.trials) == 4
    assert len(tried) == 3
    best = searches.tuners[0].get_best_hyperparameters()[0].values
    assert (best["batch_size"], best["learning_rate"]) == (30, 1e-9)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("good", "message"), [(0, "none of the Tuner's"), (1, "3 consecutive trials")]
)
def test_consecutive_failures_end_the_search_in_all_processes(
    maker: Any, monkeypatch: pytest.MonkeyPatch, good: int, message: str
) -> None:
    started = iter(range(100))

    def run_trial(*_: Any) -> dict[str, float]:
        if next(started) < good:
            return {"val_accuracy": 0.5}
        time.sleep(0.3)
        raise MemoryError("out of memory")

    monkeypatch.setattr(tuning, "run_trial", run_trial)
    searches = Searches(maker(algorithm="random", max_trials=9))
    searches.run()
    chief, worker = searches.errors
    assert worker is None
    assert isinstance(chief, ModelError)
    with pytest.raises(ModelError, match=message):
        raise chief
    assert next(started) < 9


def test_port_in_use_and_lost_chief_are_reported_in_one_line(maker: Any, tried: list[Any]) -> None:
    make = maker(algorithm="grid")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ModelError, match=r"^the Tuner's chief cannot listen on port"):
            make(TrialGroup(0, 2, address)).search()
    address = free_address()
    worker = make(TrialGroup(1, 2, address))
    with parallel_trials._serve(worker.oracle, TrialGroup(0, 2, address)) as servicer:
        servicer.oracle = None  # every call fails
        with pytest.raises(
            ModelError, match=r"^the Tuner's chief at .* failed with UNKNOWN: .* log"
        ):
            worker.search()


def ended(process: subprocess.Popen[str], code: int = 0) -> None:
    output, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == code, output[-3000:]


@pytest.fixture
def start(tiny_bert: str, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Return a function that starts the process of a role, whose result is ROLE.json."""
    cluster = {"chief": [free_address()], "worker": ["127.0.0.1:1"]}  # workers are never called
    started: list[subprocess.Popen[str]] = []

    def start(role: str, dies: bool = False) -> subprocess.Popen[str]:
        order = {
            "encoder": tiny_bert,
            "directory": str(tmp_path / "search"),
            "result": str(tmp_path / f"{role}.json"),
            "dies": dies,
        }
        config = {"cluster": cluster, "task": {"type": role, "index": 0}}
        process = subprocess.Popen(
            [sys.executable, trial_process.__file__, json.dumps(order)],
            env={**os.environ, "TF_CONFIG": json.dumps(config)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_restarted_worker_repeats_its_trial(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    """The worker dies during a trial, so that the chief cannot finish without it."""
    dying, chief = start("worker", dies=True), start("chief")
    ended(dying, -signal.SIGKILL)
    ended(start("worker"))
    ended(chief)
    told = json.loads((tmp_path / "chief.json").read_text())
    by_worker = json.loads((tmp_path / "worker.json").read_text())
    assert by_worker.keys() == {"tried"}, "only the chief reports"
    assert by_worker["tried"], "at least the trial of the killed worker"
    tried = [key(values) for values in [*told["tried"], *by_worker["tried"]]]
    assert sorted(tried) == sorted(key(values) for _, values in told["trials"])
    assert [status for status, _ in told["trials"]] == ["COMPLETED"] * 4
    assert told["best"]["learning_rate"] == 1e-2
    assert not (tmp_path / "search").exists()


def test_results_of_several_processes_share_one_folder(tmp_path: Path) -> None:
    one, other = (FinishedTrials(str(tmp_path / "results")) for _ in range(2))
    one.add({"batch_size": 8, "dropout": 0.1}, {"val_loss": 0.25})
    assert other.get({"dropout": 0.1, "batch_size": 8}) == {"val_loss": 0.25}
    assert other.get({"batch_size": 8}) is None
    other.forget()
    assert one.get({"batch_size": 8, "dropout": 0.1}) is None
    one.forget()


def test_group_follows_tf_config(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert parallel_trials.group() is None
    cluster = {"worker": ["two:2", "three:3"], "chief": ["one:1"]}
    task = {"type": "worker", "index": 1}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": task}))
    assert parallel_trials.group() == TrialGroup(2, 3, "one:1")
    monkeypatch.setenv("TF_CONFIG", "[]")
    with pytest.raises(UserError, match="TF_CONFIG"):
        parallel_trials.group()
