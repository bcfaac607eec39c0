"""The order in which the worker runs nodes, also after a failure."""

import threading
from types import SimpleNamespace

import pytest

from components.infra_validation import embedded_process
from modules.contract import progress
from runners.local import worker as local_worker
from runners.local.worker import run_nodes


def _node(name: str, *upstream: str) -> SimpleNamespace:
    return SimpleNamespace(
        node_info=SimpleNamespace(id=name),
        upstream_nodes=upstream,
        execution_options=SimpleNamespace(HasField=lambda field: False),
    )


NODES = [
    _node("Trainer"),
    _node("InfraValidator", "Trainer"),
    _node("Evaluator", "Trainer"),
    _node("Pusher", "Evaluator", "InfraValidator"),
]


class Runner:
    """Stub that records what ran; its InfraValidator waits until the Evaluator has started."""

    def __init__(self, fail: str = "") -> None:
        self.ran: list[str] = []
        self.fail = fail
        self.evaluator_started = threading.Event()

    def run(self, node: SimpleNamespace) -> str:
        name = node.node_info.id
        if name == "Evaluator":
            self.evaluator_started.set()
        if name == "InfraValidator":
            assert self.evaluator_started.wait(10), "nothing ran at the same time as InfraValidator"
        if name == self.fail:
            raise ValueError(name)
        self.ran.append(name)
        return "ran"


def test_other_nodes_run_during_a_waiting_node_and_its_successor_waits() -> None:
    runner = Runner()
    run_nodes(NODES, lambda: runner)
    assert runner.ran[0] == "Trainer"
    assert set(runner.ran[1:3]) == {"InfraValidator", "Evaluator"}
    assert runner.ran[3] == "Pusher"


@pytest.mark.parametrize("fail", ["InfraValidator", "Evaluator"])
def test_nothing_is_pushed_after_a_failure(fail: str) -> None:
    runner = Runner(fail)
    with pytest.raises(ValueError, match=fail):
        run_nodes(NODES, lambda: runner)
    assert "Pusher" not in runner.ran


def test_model_server_starts_when_the_export_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared: list[bool] = []
    monkeypatch.setattr(embedded_process, "prepare", lambda: prepared.append(True))
    monkeypatch.setattr(progress, "_listeners", [])
    progress.listen(local_worker._prepare_validation)
    progress.emit("step", step=1)
    assert not prepared
    progress.emit(progress.EXPORT_STARTED, component="Trainer")
    assert prepared == [True]
