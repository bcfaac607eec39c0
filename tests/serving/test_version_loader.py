from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.observer import Observer
from serving.settings import ServerSettings
from serving.version_loader import VersionLoader
from tests.serving import small_models


@pytest.fixture
def loader(tmp_path: Path) -> Iterator[VersionLoader]:
    loader = VersionLoader(ServerSettings(model_base_path=str(tmp_path)), Observer())
    yield loader
    loader.stop()


def test_what_one_version_measured_serves_the_next(loader: VersionLoader, tmp_path: Path) -> None:
    """The second's twin answers otherwise, so a measurement would not choose it."""
    chosen = []
    for version, adds in ((1, 0.0), (2, 1.0)):
        directory = small_models.write_twin_model(tmp_path / str(version), twin_adds=adds)
        servable = loader.load("twin", version, str(directory))
        chosen.append((servable.report.measured, servable.report.run_as))
        servable.close()
    assert chosen == [
        (True, {"serving_default": "serving_default_bfloat16"}),
        (False, {"serving_default": "serving_default_bfloat16"}),
    ]
