"""Training in several processes: shares of a batch, TF_CONFIG, loss curves, killed workers."""

import contextlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from modules.contract.errors import UserError
from modules.fit import multi_worker
from modules.fit.batches import share
from tests.modules.fit import worker_process

HOSTS = ["10.0.0.1:2222", "10.0.0.2:2222"]
#: Seconds within which a worker exits after losing another; the kernel's own limits are shorter.
SECONDS = 300


@pytest.mark.parametrize(("rows", "count"), [(7, 2), (8, 2), (1, 3), (5, 1)])
def test_shares_have_equal_length_and_every_row_once(rows: int, count: int) -> None:
    ids = np.arange(rows, dtype=np.int32)
    batch = ({"token_ids": ids[:, None]}, ids, np.ones(rows, np.float32))
    shares = [share(batch, index, count) for index in range(count)]
    assert len({len(labels) for _, labels, _ in shares}) == 1
    counted = [label for _, labels, weights in shares for label in labels[weights > 0]]
    assert sorted(counted) == list(range(rows))
    for inputs, labels, weights in shares:
        assert inputs["token_ids"][:, 0].tolist() == labels.tolist()
        assert weights.dtype == np.float32


def _environment(cluster: object, **task: object) -> dict[str, str]:
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": task})}


def _on_vertex(role: str, index: int) -> dict[str, str]:
    """Return TF_CONFIG as set by Vertex AI in the containers of two worker pools."""
    pools = {
        "chief": ["cmle-training-workerpool0-1a2b-0:2222"],
        "worker": [f"cmle-training-workerpool1-1a2b-{number}:2222" for number in range(2)],
    }
    config = {
        "cluster": pools,
        "environment": "cloud",
        "job": '{"scale_tier": "CUSTOM"}',
        "task": {"type": role, "index": index, "trial": "", "cloud": "1a2b"},
    }
    return {"TF_CONFIG": json.dumps(config)}


@pytest.mark.parametrize(
    ("environment", "place"),
    [
        ({}, None),
        ({"TF_CONFIG": ""}, None),
        (_environment({"worker": HOSTS[:1]}, type="worker", index=0), None),
        (_environment({"worker": HOSTS}, type="worker", index=1), (1, 2)),
        (_environment({"chief": HOSTS[:1], "worker": HOSTS}, type="chief", index=0), (0, 3)),
        (_environment({"chief": HOSTS[:1], "worker": HOSTS}, type="worker", index=1), (2, 3)),
        (_on_vertex("chief", 0), (0, 3)),
        (_on_vertex("worker", 1), (2, 3)),
    ],
)
def test_place_among_the_workers_follows_tf_config(
    environment: dict[str, str], place: tuple[int, int] | None
) -> None:
    assert multi_worker.place(environment) == place


@pytest.mark.parametrize(
    "environment",
    [
        {"TF_CONFIG": "{"},
        {"TF_CONFIG": "[]"},
        _environment({"worker": HOSTS}, type="worker", index=2),
        _environment({"worker": HOSTS}, type="worker", index="one"),
        _environment({"worker": HOSTS}, type="chief", index=0),
        _environment({"worker": HOSTS, "ps": HOSTS}, type="worker", index=0),
    ],
)
def test_other_clusters_are_rejected(environment: dict[str, str]) -> None:
    with pytest.raises(UserError, match=r"^TF_CONFIG: must be"):
        multi_worker.place(environment)


def _order(folder: Path, encoder: str, name: str, dies_in_epoch: int | None = None) -> str:
    order = {
        "encoder": encoder,
        "checkpoints": str(folder / f"{name}-checkpoints"),
        "result": str(folder / f"{name}.json"),
        "dies_in_epoch": dies_in_epoch,
    }
    return json.dumps(order)


def _start(order: str, index: int = 0, ports: tuple[int, ...] = ()) -> subprocess.Popen[str]:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    if ports:
        cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
        environment |= _environment(cluster, type="worker", index=index)
    return subprocess.Popen(
        [sys.executable, worker_process.__file__, order],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _train(orders: list[str]) -> list[tuple[int, str]]:
    """Return the exit code and output of each worker."""
    with contextlib.ExitStack() as sockets:
        bound = [sockets.enter_context(socket.socket()) for _ in orders]
        for found in bound:
            found.bind(("127.0.0.1", 0))
        ports = tuple(found.getsockname()[1] for found in bound)
    workers = [_start(order, index, ports) for index, order in enumerate(orders)]
    try:
        outputs = [worker.communicate(timeout=SECONDS)[0] for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    return [(worker.returncode, out) for worker, out in zip(workers, outputs, strict=True)]


def _curve(folder: Path, name: str) -> list[dict[str, float]]:
    return json.loads((folder / f"{name}.json").read_text())["curve"]


@pytest.fixture(scope="module")
def alone(tiny_bert: str, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, float]]:
    """Return the loss curve of a single process."""
    folder = tmp_path_factory.mktemp("alone")
    process = _start(_order(folder, tiny_bert, "alone"))
    output, _ = process.communicate()
    assert process.returncode == 0, output[-3000:]
    return _curve(folder, "alone")


def _assert_same(curve: list[dict[str, float]], expected: list[dict[str, float]]) -> None:
    assert [point["epoch"] for point in curve] == [point["epoch"] for point in expected]
    for point, wanted in zip(curve, expected, strict=True):
        for name, value in wanted.items():
            assert point[name] == pytest.approx(value, rel=1e-4), (name, point, wanted)


@pytest.mark.slow
def test_two_workers_train_like_one_process(
    alone: list[dict[str, float]], tiny_bert: str, tmp_path: Path
) -> None:
    """With 60 texts in batches of 7, shares have different sizes and the last batch is short."""
    order = _order(tmp_path, tiny_bert, "two")
    for code, output in _train([order, order]):
        assert code == 0, output[-3000:]
    curve = _curve(tmp_path, "two")
    assert curve[-1]["val_loss"] < 0.6 * curve[0]["val_loss"], "the model must learn"
    _assert_same(curve, alone)


@pytest.mark.slow
def test_killed_worker_ends_the_job_and_a_restart_resumes_from_the_checkpoint(
    alone: list[dict[str, float]], tiny_bert: str, tmp_path: Path
) -> None:
    order = _order(tmp_path, tiny_bert, "two")
    dying = _order(tmp_path, tiny_bert, "two", dies_in_epoch=2)
    (chief, output), (worker, _) = _train([order, dying])
    assert worker == -9
    assert chief not in (0, None), output[-3000:]
    assert not (tmp_path / "two.json").exists()
    for code, output in _train([order, order]):
        assert code == 0, output[-3000:]
    curve = _curve(tmp_path, "two")
    assert len(curve) == 2, "the epochs before the kill must not be trained again"
    _assert_same(curve[1:], alone[3:])
    # The interrupted epoch resumes in the middle, so that its metrics cover only its rest.
    assert curve[0]["val_loss"] == pytest.approx(alone[2]["val_loss"], rel=1e-4)


@pytest.mark.slow
def test_workers_with_different_data_are_rejected(tiny_bert: str, tmp_path: Path) -> None:
    other = json.dumps({**json.loads(_order(tmp_path, tiny_bert, "two")), "texts": 40})
    results = _train([_order(tmp_path, tiny_bert, "two"), other])
    for code, output in results:
        assert code != 0
        assert "the workers of TF_CONFIG differ in data or checkpoint" in output


@pytest.mark.slow
def test_only_the_chief_writes_and_its_export_predicts(tiny_bert: str, tmp_path: Path) -> None:
    """Both processes run the Trainer's entry point."""
    import tensorflow as tf

    from runners.predict.local import Predictor
    from tests.modules import transformed

    transformed.write(tmp_path / "in", tiny_bert, tf.io.FixedLenFeature([], tf.string))
    orders = [
        {"transformed": str(tmp_path / "in"), "output": str(tmp_path / name), "encoder": tiny_bert}
        for name in ("chief", "worker")
    ]
    for code, output in _train([json.dumps(order) for order in orders]):
        assert code == 0, output[-3000:]
    assert not (tmp_path / "worker").exists()
    [answer] = Predictor(tmp_path / "chief" / "model").predict(["a film so great"])
    assert answer.label in ("negative", "positive")
    card = json.loads((tmp_path / "chief/model/assets.extra/model_card.json").read_text())
    assert card["metrics"]["val_accuracy"] > 0.5
    assert os.listdir(tmp_path / "chief" / "checkpoints") == []
