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
    """One zygote for the session, because it takes seconds to import TensorFlow."""
    zygote = Zygote()
    yield zygote
    zygote.stop()
