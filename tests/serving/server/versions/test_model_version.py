"""A queue and a worker together: what happens to calls when the worker dies."""

import os
import signal
import threading

import numpy as np
import pytest

from serving.protocol.errors import Code, ServingError
from serving.protocol.servable import RunRequest
from serving.server.batches.batching import BatchLimits
from serving.server.observer import Observer
from serving.server.versions import model_version
from serving.server.versions.model_version import ModelVersion, max_tokens_of_text
from serving.server.worker.worker_task import WorkerTask
from tests.serving import small_models

PATIENCE = 60


class Recorder(Observer):
    def __init__(self):
        self.batches = []

    def batch_ran(self, model, version, signature, examples, queue_seconds, run_seconds):
        assert run_seconds > 0
        assert all(seconds >= 0 for seconds in queue_seconds)
        self.batches.append((model, version, signature, examples, len(queue_seconds)))


class Loader:
    """Starts workers of one model, unless it is told to fail."""

    def __init__(self, zygote, directory, runs=1):
        self._zygote = zygote
        self._runs = runs
        self._directory = str(directory)
        self.error = None
        self.tried = threading.Semaphore(0)

    def __call__(self):
        self.tried.release()
        if self.error is not None:
            raise self.error
        worker = self._zygote.start_worker(self._runs)
        return worker, worker.load(WorkerTask(self._directory, allow_unsafe_ops=True))


@pytest.fixture
def loader(zygote, tmp_path):
    return Loader(zygote, small_models.write_waiting_model(tmp_path / "1"))


@pytest.fixture
def recorder():
    return Recorder()


@pytest.fixture
def version(loader, recorder):
    version = ModelVersion("m", 1, loader, BatchLimits(), recorder)
    yield version
    version.close()


def request(value=1.0) -> RunRequest:
    return RunRequest("serving_default", {"x": np.array([value], np.float32)})


def wait_at(pipe) -> RunRequest:
    """A run that goes on until the pipe is opened to write."""
    os.mkfifo(pipe)
    name = np.empty((), object)
    name[()] = os.fsencode(pipe)
    return RunRequest("wait", {"path": name})


def reader_waits(pipe) -> None:
    """Until the run has opened the pipe: opening its other end waits for that too."""
    os.close(os.open(pipe, os.O_WRONLY))


def test_a_call_is_answered(version) -> None:
    assert version.submit(request(3.0)).result(PATIENCE)["y"].tolist() == [3.0]
    assert version.healthy


def test_only_what_runs_fails_when_the_worker_dies(version, tmp_path) -> None:
    running = version.submit(wait_at(tmp_path / "pipe"))
    waiting = [version.submit(request(value)) for value in (1.0, 2.0)]
    while not running.running():
        pass
    first = version.worker_pid
    os.kill(first, signal.SIGKILL)
    assert running.exception(PATIENCE).code == Code.UNAVAILABLE
    assert [call.result(PATIENCE)["y"].tolist() for call in waiting] == [[1.0], [2.0]]
    assert version.worker_pid != first
    assert version.healthy


@pytest.mark.parametrize("error", [None, ServingError(Code.NOT_FOUND, "the folder is gone")])
def test_an_idle_slot_runs_nothing_on_a_worker_that_is_known_to_be_dead(
    zygote, tmp_path, error
) -> None:
    """A caller that retries at once is answered by the successor of the dead worker."""
    directory = small_models.write_waiting_model(tmp_path / "1")
    loader = Loader(zygote, directory, runs=2)
    version = ModelVersion("m", 1, loader, BatchLimits(), Observer())
    loader.error = error
    running = version.submit(wait_at(tmp_path / "pipe"))
    while not running.running():
        pass
    again = []
    running.add_done_callback(lambda _: again.append(version.submit(request(5.0))))
    os.kill(version.worker_pid, signal.SIGKILL)
    assert running.exception(PATIENCE).code == Code.UNAVAILABLE
    while not again:
        pass
    if error is None:
        assert again[0].result(PATIENCE)["y"].tolist() == [5.0]
    else:
        assert str(again[0].exception(PATIENCE)) == "the folder is gone"
    version.close()


def test_another_version_does_not_notice(zygote, version, tmp_path) -> None:
    loader = Loader(zygote, small_models.write_text_model(tmp_path / "2"))
    other = ModelVersion("m", 2, loader, BatchLimits(), Observer())
    running = version.submit(wait_at(tmp_path / "pipe"))
    while not running.running():
        pass
    os.kill(version.worker_pid, signal.SIGKILL)
    text = np.array([b"1"], object)
    answer = other.submit(RunRequest("echo", {"text": text})).result(PATIENCE)
    assert answer["echo"].tolist() == [b"1"]
    assert running.exception(PATIENCE).code == Code.UNAVAILABLE
    other.close()


def test_what_waits_is_told_when_the_worker_cannot_be_replaced(
    version, loader, monkeypatch
) -> None:
    loader.error = ServingError(Code.NOT_FOUND, "the folder is gone")
    os.kill(version.worker_pid, signal.SIGKILL)
    first, second = version.submit(request()), version.submit(request())
    errors = [call.exception(PATIENCE) for call in (first, second)]
    assert {error.code for error in errors} == {Code.UNAVAILABLE}
    for _ in range(3):  # loaded once, and tried again twice
        assert loader.tried.acquire(timeout=PATIENCE)
    assert not version.healthy
    loader.error = None
    while not version.healthy:
        assert loader.tried.acquire(timeout=PATIENCE)
        future = version.submit(request(4.0))
        if future.exception(PATIENCE) is None:
            assert future.result()["y"].tolist() == [4.0]
            break


def test_restarts_back_off(version, loader, monkeypatch, caplog) -> None:
    assert model_version.FIRST_RESTART_SECONDS == 0.1
    assert model_version.LAST_RESTART_SECONDS == 30
    first, last = 0.001, 0.1  # the same doubling, sooner over
    monkeypatch.setattr(model_version, "FIRST_RESTART_SECONDS", first)
    monkeypatch.setattr(model_version, "LAST_RESTART_SECONDS", last)
    loader.error = ServingError(Code.NOT_FOUND, "the folder is gone")
    os.kill(version.worker_pid, signal.SIGKILL)
    assert version.submit(request()).exception(PATIENCE).code == Code.UNAVAILABLE
    for _ in range(13):  # loaded once, and tried again
        assert loader.tried.acquire(timeout=PATIENCE)
    # The last argument of each such message is when the worker is started next.
    waits = [record.args[-1] for record in caplog.records if "retrying in" in record.msg]
    assert waits[:4] == [2 * first, 4 * first, 8 * first, 16 * first]
    assert max(waits) == last


def test_closing_answers_what_runs_and_waits(version, tmp_path) -> None:
    running = version.submit(wait_at(tmp_path / "pipe"))
    while not running.running():
        pass
    waiting = version.submit(request())
    version.close()
    for call in (running, waiting, version.submit(request())):
        assert call.exception(PATIENCE).code == Code.UNAVAILABLE


def test_observer_receives_every_batch(version, recorder, tmp_path) -> None:
    running = version.submit(wait_at(tmp_path / "pipe"))
    while not running.running():
        pass
    merged = [version.submit(request()) for _ in range(2)]
    reader_waits(tmp_path / "pipe")
    for call in merged:
        call.result(PATIENCE)
    version.close()
    assert recorder.batches == [
        ("m", 1, "wait", 1, 1),
        ("m", 1, "serving_default", 2, 2),
    ]


def test_a_version_that_does_not_load_is_none(loader) -> None:
    loader.error = ServingError(Code.NOT_FOUND, "no model")
    with pytest.raises(ServingError, match="no model"):
        ModelVersion("m", 1, loader, BatchLimits(), Observer())


@pytest.mark.parametrize(
    ("card", "length"),
    [
        ('{"text": {"max_length": 128}}', 128),
        ('{"text": {"max_length": "128"}}', None),
        ('{"text": 1}', None),
        ("[]", None),
        ("{", None),
        (None, None),
    ],
)
def test_token_limit_comes_from_the_model_card(tmp_path, card, length) -> None:
    if card is not None:
        (tmp_path / "assets.extra").mkdir()
        (tmp_path / "assets.extra" / "model_card.json").write_text(card)
    assert max_tokens_of_text(str(tmp_path)) == length
