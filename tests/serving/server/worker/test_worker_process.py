"""Real workers of one zygote, with small models. The zygote takes a few seconds to start."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from serving.protocol import protos
from serving.protocol.errors import Code, ServingError
from serving.server.versions import version_loader
from serving.server.worker.worker_process import Worker, WorkerDiedError, Zygote
from serving.server.worker.worker_task import WorkerTask
from tests.serving import half_plus_two, small_models

REPOSITORY = Path(__file__).parents[4]
PATIENCE = 60


def strings(*values: bytes) -> np.ndarray:
    array = np.empty(len(values), object)
    array[:] = values
    return array


@pytest.fixture
def start(zygote):
    """A function that starts a worker and loads a model."""
    workers = []

    def start(directory, runs=1, **task) -> Worker:
        worker = zygote.start_worker(runs)
        workers.append(worker)
        worker.report = worker.load(WorkerTask(str(directory), **task))
        return worker

    yield start
    for worker in workers:
        worker.kill()


@pytest.fixture
def text_worker(start, tmp_path):
    return start(small_models.write_text_model(tmp_path / "1"))


@pytest.mark.slow
def test_worker_runs_a_signature(start, tmp_path) -> None:
    worker = start(half_plus_two.write(tmp_path / "1"))
    x = np.array([[1, 2], [3, 4]], np.float32)
    assert worker.run(0, "serving_default", {"x": x}, ())["y"].tolist() == [[2.5, 3], [3.5, 4]]
    example = protos.example_pb2.Example()
    example.features.feature["x"].float_list.value.append(20)
    examples = strings(example.SerializeToString())
    regressed = worker.run(0, "regress_x_to_y2", {"inputs": examples}, ())
    assert regressed["outputs"].tolist() == [[13.0]]
    assert worker.report.signatures["classify_x_to_y"].method_name == "tensorflow/serving/classify"
    assert worker.report.resident_bytes > 50e6
    assert worker.resident_bytes() > 50e6


def test_strings_are_passed_as_bytes(text_worker) -> None:
    given = strings(b"1", b"2.5", b"-3")
    outputs = text_worker.run(0, "serving_default", {"text": given}, ())
    assert outputs["echo"].tolist() == [b"1", b"2.5", b"-3"]
    assert outputs["number"].tolist() == [1, 2.5, -3]


def test_only_requested_outputs_are_returned(text_worker) -> None:
    given = {"text": strings(b"1")}
    assert list(text_worker.run(0, "serving_default", given, ("number",))) == ["number"]


def test_own_export_computes_all_outputs_and_returns_the_requested_ones(start, tmp_path) -> None:
    directory = small_models.write_text_model(tmp_path / "1")
    parts, whole = start(directory), start(directory, own_export=True)
    given = {"text": strings(b"1")}
    assert list(whole.run(0, "serving_default", given, ("number",))) == ["number"]
    assert sorted(whole.run(0, "serving_default", given, ())) == ["echo", "number"]
    # All outputs are computed, as the error of one that was not requested shows.
    no_number = {"text": strings(b"word")}
    assert list(parts.run(0, "serving_default", no_number, ("echo",))) == ["echo"]
    with pytest.raises(ServingError, match="could not correctly convert string: word"):
        whole.run(0, "serving_default", no_number, ("echo",))


@pytest.mark.slow  # starts another zygote
def test_prepared_zygote_is_used() -> None:
    zygote = Zygote()
    try:
        zygote.prepare()
        while zygote.pid is None:
            time.sleep(0.01)
        prepared = zygote.pid
        zygote.start_worker(1).kill()
        assert zygote.pid == prepared
    finally:
        zygote.stop()


def test_two_outputs_may_be_the_same_tensor(text_worker) -> None:
    outputs = text_worker.run(0, "echo", {"text": strings(b"a")}, ())
    assert {alias: array.tolist() for alias, array in outputs.items()} == {
        "echo": [b"a"],
        "again": [b"a"],
    }


def test_types_and_ranks_are_preserved(start, tmp_path) -> None:
    worker = start(small_models.write_types_model(tmp_path / "1"))
    name = np.empty((), object)
    name[()] = b"scalar"
    inputs = {
        "matrix": np.array([[1, 2], [3, 4]], np.float32),
        "count": np.int64(7).reshape(()),
        "flag": np.array([True, False]),
        "name": name,
    }
    outputs = worker.run(0, "serving_default", inputs, ())
    for alias, array in inputs.items():
        assert outputs[alias].dtype == array.dtype
        assert outputs[alias].shape == array.shape
        assert outputs[alias].tolist() == array.tolist()


def test_error_of_the_graph_reaches_the_caller(text_worker) -> None:
    with pytest.raises(ServingError, match="could not correctly convert string: word") as caught:
        text_worker.run(0, "serving_default", {"text": strings(b"word")}, ())
    assert caught.value.code == Code.INVALID_ARGUMENT
    outputs = text_worker.run(0, "serving_default", {"text": strings(b"4")}, ())
    assert outputs["number"].tolist() == [4]


def test_wrong_dtype_is_an_invalid_argument(text_worker) -> None:
    with pytest.raises(ServingError) as caught:
        text_worker.run(0, "serving_default", {"text": np.zeros(1, np.float32)}, ())
    assert caught.value.code == Code.INVALID_ARGUMENT


def test_folder_without_a_model_does_not_load(zygote, tmp_path) -> None:
    worker = zygote.start_worker(1)
    with pytest.raises(ServingError) as caught:
        worker.load(WorkerTask(str(tmp_path)))
    assert caught.value.code == Code.NOT_FOUND
    worker.kill()


def test_damaged_model_does_not_load(start, tmp_path) -> None:
    directory = half_plus_two.write(tmp_path / "1")
    file = directory / "saved_model.pb"
    file.write_bytes(file.read_bytes()[:-50])
    with pytest.raises(ServingError):
        start(directory)


def test_warm_up_runs_every_kind_of_record(start, tmp_path) -> None:
    directory = half_plus_two.write(tmp_path / "1")
    prediction_log = protos.prediction_log_pb2.PredictionLog
    classify, regress, several = prediction_log(), prediction_log(), prediction_log()
    example = protos.example_pb2.Example()
    example.features.feature["x"].float_list.value.append(1)
    classify.classify_log.request.model_spec.signature_name = "classify_x_to_y"
    classify.classify_log.request.input.example_list.examples.add().CopyFrom(example)
    regress.regress_log.request.model_spec.signature_name = "regress_x_to_y"
    with_context = regress.regress_log.request.input.example_list_with_context
    with_context.context.CopyFrom(example)
    with_context.examples.add()
    task = several.multi_inference_log.request.tasks.add()
    task.method_name = "tensorflow/serving/regress"
    task.model_spec.signature_name = "regress_x_to_y2"
    several.multi_inference_log.request.input.example_list.examples.add().CopyFrom(example)
    logs = [small_models.predict(x=[1.0]), classify, regress, several, prediction_log()]
    small_models.write_warmup(directory, *logs)
    assert start(directory).report.warmup_seconds > 0


def session_run():
    log = protos.prediction_log_pb2.PredictionLog()
    log.session_run_log.SetInParent()
    return [log]


def wrong_method():
    log = protos.prediction_log_pb2.PredictionLog()
    log.classify_log.request.model_spec.signature_name = "regress_x_to_y"
    log.classify_log.request.input.example_list.examples.add()
    return [log]


@pytest.mark.parametrize(
    ("logs", "code", "message"),
    [
        (session_run, Code.UNIMPLEMENTED, "Unsupported log_type for warmup: 5"),
        (
            lambda: [small_models.predict(x=[1.0])] * 1001,
            Code.INVALID_ARGUMENT,
            r"Number of warmup records exceeds the maximum \(1000\) at ",
        ),
        (lambda: [small_models.predict(z=[1.0])], Code.INVALID_ARGUMENT, "the inputs .* differ"),
        (
            lambda: [small_models.predict("none", x=[1.0])],
            Code.FAILED_PRECONDITION,
            'Serving signature key "none" not found',
        ),
        (wrong_method, Code.INVALID_ARGUMENT, "is not a classify signature"),
    ],
    ids=["session run", "too many", "inputs", "signature", "method"],
)
def test_failing_warm_up_fails_the_load(start, tmp_path, logs, code, message) -> None:
    directory = half_plus_two.write(tmp_path / "1")
    small_models.write_warmup(directory, *logs())
    with pytest.raises(ServingError, match=message) as caught:
        start(directory)
    assert caught.value.code == code
    assert start(directory, warm_up=False).report.signatures


def test_a_thousand_records_are_allowed(start, tmp_path) -> None:
    directory = half_plus_two.write(tmp_path / "1")
    small_models.write_warmup(directory, *[small_models.predict(x=[1.0])] * 1000)
    start(directory)


def test_damaged_warm_up_file_fails_the_load(start, tmp_path) -> None:
    directory = half_plus_two.write(tmp_path / "1")
    small_models.write_warmup(directory, small_models.predict(x=[1.0]))
    with (directory / small_models.WARMUP_FILE).open("r+b") as file:
        file.seek(20)
        file.write(b"\xff")
    with pytest.raises(ServingError) as caught:
        start(directory)
    assert caught.value.code == Code.DATA_LOSS


@pytest.mark.parametrize(
    ("adds", "how", "key"),
    [
        (0.0, "auto", "serving_default_bfloat16"),
        (1.0, "auto", "serving_default"),
        (0.0, "float32", "serving_default"),
        (1.0, "bfloat16", "serving_default_bfloat16"),
    ],
)
def test_precision_setting_selects_the_signature(start, tmp_path, adds, how, key) -> None:
    directory = small_models.write_twin_model(tmp_path / "1", twin_adds=adds)
    worker = start(directory, precision=how)
    assert worker.report.run_as == {"serving_default": key}
    x = np.array([5.0], np.float32)
    answer = worker.run(0, "serving_default", {"x": x}, ())["y"].tolist()
    assert answer == ([5.0 + adds] if key.endswith("bfloat16") else [5.0])


@pytest.mark.parametrize(
    ("how", "key"), [("auto", "serving_default_bfloat16"), ("float32", "serving_default")]
)
def test_known_precision_is_not_measured_again(start, tmp_path, how, key) -> None:
    """The twin has different outputs, which a measurement would detect."""
    directory = small_models.write_twin_model(tmp_path / "1", twin_adds=0.0)
    report = start(directory, own_export=True).report
    assert report.measured
    known = {report.fingerprint: report.run_as}
    other = small_models.write_twin_model(tmp_path / "2", twin_adds=1.0)
    again = start(other, precision=how, own_export=True, known_precisions=known).report
    assert again.fingerprint == report.fingerprint
    assert (again.run_as, again.measured) == ({"serving_default": key}, False)


def test_precision_of_another_graph_is_ignored(start, tmp_path) -> None:
    known = {"0" * 64: {"serving_default": "serving_default_bfloat16"}}
    directory = small_models.write_twin_model(tmp_path / "1", twin_adds=1.0)
    report = start(directory, own_export=True, known_precisions=known).report
    assert (report.run_as, report.measured) == ({"serving_default": "serving_default"}, False)


def pipe(tmp_path) -> Path:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


def waiting(worker, slot, path):
    """Start a thread in which the worker waits for the pipe; return it and the list of results."""
    ends = []
    name = np.empty((), object)
    name[()] = os.fsencode(path)

    def run():
        try:
            ends.append(worker.run(slot, "wait", {"path": name}, ()))
        except ServingError as error:
            ends.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, ends


def test_slots_run_concurrently(start, tmp_path) -> None:
    """Slots have the server's thread settings; with a pool of one thread, the second would wait."""
    directory = small_models.write_waiting_model(tmp_path / "1")
    threads = version_loader.IN_THE_CALLERS_THREAD
    worker = start(directory, runs=2, inter_op_threads=threads, allow_unsafe_ops=True)
    path = pipe(tmp_path)
    thread, ends = waiting(worker, 0, path)
    x = np.array([1.0], np.float32)
    assert worker.run(1, "serving_default", {"x": x}, ())["y"].tolist() == [1.0]
    assert not ends
    path.write_bytes(b"")
    thread.join(PATIENCE)
    assert not isinstance(ends[0], WorkerDiedError)


def test_killed_worker_fails_its_running_calls(start, tmp_path) -> None:
    worker = start(small_models.write_waiting_model(tmp_path / "1"), allow_unsafe_ops=True)
    thread, ends = waiting(worker, 0, pipe(tmp_path))
    os.kill(worker.pid, signal.SIGKILL)
    thread.join(PATIENCE)
    assert isinstance(ends[0], WorkerDiedError)
    assert ends[0].code == Code.UNAVAILABLE
    with pytest.raises(WorkerDiedError):
        worker.run(0, "serving_default", {"x": np.zeros(1, np.float32)}, ())


def test_kill_ends_a_busy_worker(start, tmp_path) -> None:
    worker = start(small_models.write_waiting_model(tmp_path / "1"), allow_unsafe_ops=True)
    thread, ends = waiting(worker, 0, pipe(tmp_path))
    process = psutil.Process(worker.pid)
    worker.kill()
    thread.join(PATIENCE)
    assert isinstance(ends[0], WorkerDiedError)
    assert gone(process)


def gone(process: psutil.Process) -> bool:
    """Return whether the process ends soon; a zombie counts as ended."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                time.sleep(0.01)
                continue
        return True
    return False


@pytest.mark.slow
def test_workers_outlive_the_zygote_which_is_restarted(tmp_path) -> None:
    zygote = Zygote()
    try:
        worker = zygote.start_worker(1)
        worker.load(WorkerTask(str(half_plus_two.write(tmp_path / "1"))))
        first = zygote.pid
        os.kill(first, signal.SIGKILL)
        x = np.array([[1.0]], np.float32)
        assert worker.run(0, "serving_default", {"x": x}, ())["y"].tolist() == [[2.5]]
        zygote.start_worker(1).kill()
        assert zygote.pid != first
        worker.kill()
    finally:
        zygote.stop()


def test_zygote_can_be_stopped_while_it_starts() -> None:
    zygote = Zygote()
    errors = []

    def start() -> None:
        try:
            zygote.start_worker(1)
        except ServingError as error:
            errors.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    while zygote.pid is None:
        pass
    zygote.stop()
    thread.join(PATIENCE)
    assert errors[0].code == Code.UNAVAILABLE


FRONT = """
import sys, time
from serving.server.worker.worker_process import Zygote
from serving.server.worker.worker_task import WorkerTask
zygote = Zygote()
worker = zygote.start_worker(1)
worker.load(WorkerTask(sys.argv[1]))
print(zygote.pid, worker.pid, 'tensorflow' in sys.modules, flush=True)
time.sleep(600)
"""


@pytest.mark.slow
def test_no_process_outlives_a_killed_front(tmp_path) -> None:
    directory = half_plus_two.write(tmp_path / "1")
    front = subprocess.Popen(
        [sys.executable, "-c", FRONT, str(directory)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )
    zygote_pid, worker_pid, imported = front.stdout.readline().split()
    assert imported == "False"
    processes = [psutil.Process(int(pid)) for pid in (zygote_pid, worker_pid)]
    front.kill()
    front.wait()
    front.stdout.close()
    assert all(gone(process) for process in processes)


def test_model_that_reads_files_needs_permission(start, tmp_path) -> None:
    (tmp_path / "secret").write_text("content")
    directory = small_models.write_waiting_model(tmp_path / "1")
    with pytest.raises(ServingError, match="ReadFile") as caught:
        start(directory)
    assert caught.value.code == Code.PERMISSION_DENIED
    with pytest.raises(ServingError, match="--allow_unsafe_ops"):
        start(directory, own_export=True)
    worker = start(directory, allow_unsafe_ops=True)
    path = np.array(str(tmp_path / "secret").encode(), object)
    outputs = worker.run(0, "wait", {"path": path}, ())
    assert outputs["content"].item() == b"content"
