import os
import sys
import threading

import pytest

from serving.server.worker import load_priority

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="priorities of threads: Linux")


class Thread:
    """A thread that runs until ``end``."""

    def __init__(self):
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._end.wait, daemon=True)
        self._thread.start()
        self.id = self._thread.native_id

    def end(self) -> None:
        self._end.set()
        self._thread.join()


def test_threads_are_niced_only_while_loading() -> None:
    if not load_priority._may_raise_priority():
        pytest.skip("this process may not raise priorities: CAP_SYS_NICE")
    before = os.getpriority(os.PRIO_PROCESS, 0)
    earlier = Thread()
    with load_priority.lowered():
        later = Thread()
        threads = (0, earlier.id, later.id)
        assert {os.getpriority(os.PRIO_PROCESS, thread) for thread in threads} == {3}
    assert {os.getpriority(os.PRIO_PROCESS, thread) for thread in threads} == {before}
    earlier.end()
    later.end()


def test_unprivileged_threads_are_bound_to_one_core_only_while_loading(monkeypatch) -> None:
    monkeypatch.setattr(load_priority, "_may_raise_priority", lambda: False)
    cores = os.sched_getaffinity(0)
    if len(cores) < 2:
        pytest.skip("one core")
    earlier = Thread()
    with load_priority.lowered():
        later = Thread()
        for thread in (0, earlier.id, later.id):
            assert os.sched_getaffinity(thread) == {max(cores)}
    for thread in (0, earlier.id, later.id):
        assert os.sched_getaffinity(thread) == cores
    earlier.end()
    later.end()


def test_failed_load_restores_the_priorities() -> None:
    before = os.getpriority(os.PRIO_PROCESS, 0), os.sched_getaffinity(0)
    with pytest.raises(RuntimeError, match="load"), load_priority.lowered():
        raise RuntimeError("load")
    assert (os.getpriority(os.PRIO_PROCESS, 0), os.sched_getaffinity(0)) == before
