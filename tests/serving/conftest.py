from collections.abc import Iterator

import pytest

from serving.server.worker.worker_process import Zygote
from tests.serving.records.databases import (  # noqa: F401
    database,
    database_url,
    postgresql_server,
)


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    """Forks workers; importing TensorFlow, its first takes seconds."""
    zygote = Zygote()
    yield zygote
    zygote.stop()
