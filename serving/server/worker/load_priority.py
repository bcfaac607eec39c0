"""Keeps a worker that loads out of the way of those that serve. Linux; elsewhere it does nothing.

Two means, for a process may always step back but only a privileged one may step up again:

* privileged (CAP_SYS_NICE): every thread is niced while loading, and back;
* otherwise: every thread stays on one core while loading, so that the others serve undisturbed.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator

#: Half of what a thread that serves gets, where they compete: under full load a version is ready
#: twice as soon as at 10, and requests meanwhile take no longer ("Swaps of versions" in
#: docs/adr/performance.md).
_NICENESS = 3


@contextlib.contextmanager
def lowered() -> Iterator[None]:
    """Lower this process's threads, those it makes meanwhile too, and raise all at the end."""
    restore = _lower_nice() or _lower_affinity()
    try:
        yield
    finally:
        restore()


def _lower_nice() -> Callable[[], None] | None:
    """Nice every thread; how to undo it, or None when this process could not."""
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
        with contextlib.suppress(ProcessLookupError):  # it ended meanwhile
            act(thread)


def _may_raise_priority() -> bool:
    """Tried on a thread that ends at once, for there may be no way back."""
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
