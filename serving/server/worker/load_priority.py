"""Lower CPU priority for a worker while it loads. Linux only; elsewhere this has no effect.

Any process may lower its priority, but only a privileged one may raise it again. Hence two methods:

* privileged (CAP_SYS_NICE): all threads are niced while loading;
* otherwise: all threads are bound to one core while loading, and the other cores serve.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator

#: Half the CPU time of a serving thread that competes with it. Under full load, a version is ready
#: twice as fast as with 10, and requests take no longer ("Swaps of versions" in
#: docs/adr/performance.md).
_NICENESS = 3


@contextlib.contextmanager
def lowered() -> Iterator[None]:
    """Lower the priority of this process's threads, old and new, and restore it at the end."""
    restore = _lower_nice() or _lower_affinity()
    try:
        yield
    finally:
        restore()


def _lower_nice() -> Callable[[], None] | None:
    """Nice every thread and return how to undo it; None if this process could not undo it."""
    if not os.path.isdir("/proc/self/task") or not _may_raise_priority():
        return None
    before = os.getpriority(os.PRIO_PROCESS, 0)
    _each_thread(lambda thread: os.setpriority(os.PRIO_PROCESS, thread, _NICENESS))
    return lambda: _each_thread(lambda thread: os.setpriority(os.PRIO_PROCESS, thread, before))


def _lower_affinity() -> Callable[[], None]:
    if not hasattr(os, "sched_setaffinity") or len(cores := os.sched_getaffinity(0)) < 2:
        return lambda: None
    _each_thread(lambda thread: os.sched_setaffinity(thread, {max(cores)}))
    return lambda: _each_thread(lambda thread: os.sched_setaffinity(thread, cores))


def _each_thread(act: Callable[[int], None]) -> None:
    for thread in map(int, os.listdir("/proc/self/task")):
        with contextlib.suppress(ProcessLookupError):  # the thread has ended
            act(thread)


def _may_raise_priority() -> bool:
    """Test it on a thread that ends at once, because it may be impossible to undo."""
    raised = False

    def attempt() -> None:
        nonlocal raised
        before = os.getpriority(os.PRIO_PROCESS, 0)
        if before >= _NICENESS:
            return
        os.setpriority(os.PRIO_PROCESS, 0, before + 1)
        with contextlib.suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, 0, before)
            raised = True

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    return raised
