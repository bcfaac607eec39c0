import os
import time
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from serving.server.worker import worker_process
from serving.server.worker.worker_process import Zygote
from tests.serving.records.databases import (  # noqa: F401
    database,
    database_url,
    postgresql_server,
)


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    """One zygote for the session, because it takes seconds to import TensorFlow."""
    zygote = Zygote()
    yield zygote
    zygote.stop()


@pytest.fixture(scope="session", autouse=True)
def _measured_workers_end_by_themselves() -> Iterator[None]:
    """Give workers the time to write their coverage, where it is measured.

    A worker ends by itself when its sockets are closed; the kill after that is for one that hangs.
    """
    if "COVERAGE_PROCESS_CONFIG" not in os.environ:
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker_process, "os", _PatientOs())
        yield


class _PatientOs:
    """The module ``os``, whose ``kill`` waits a while for the process to end by itself."""

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def kill(self, pid: int, number: int) -> None:
        deadline = time.monotonic() + 2
        while psutil.pid_exists(pid) and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(pid, number)
