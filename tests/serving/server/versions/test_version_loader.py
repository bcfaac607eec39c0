import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.protocol.errors import ServingError
from serving.server.observer import Observer
from serving.server.settings import ServerSettings
from serving.server.versions.version_loader import VersionLoader
from tests.serving import small_models


@pytest.fixture
def loader(tmp_path: Path) -> Iterator[VersionLoader]:
    loader = VersionLoader(ServerSettings(model_base_path=str(tmp_path)), Observer())
    yield loader
    loader.stop()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("own_export", "second"), [(True, "serving_default_bfloat16"), (False, "serving_default")]
)
def test_measured_precision_is_reused_for_the_next_version(
    loader: VersionLoader, tmp_path: Path, own_export: bool, second: str
) -> None:
    """The twin of the second version has different outputs, so a comparison would not choose it."""
    chosen = []
    for version, adds in ((1, 0.0), (2, 1.0)):
        directory = small_models.write_twin_model(tmp_path / str(version), twin_adds=adds)
        if own_export:
            card = directory / "assets.extra" / "model_card.json"
            card.write_text('{"text": {"max_length": 8}}', "utf-8")
        servable = loader.load("twin", version, str(directory))
        chosen.append((servable.report.measured, servable.report.run_as["serving_default"]))
        servable.close()
    assert chosen == [(True, "serving_default_bfloat16"), (False, second)]


def test_pipe_does_not_stop_a_load(loader: VersionLoader, tmp_path: Path) -> None:
    (tmp_path / "1" / "assets.extra").mkdir(parents=True)
    os.mkfifo(tmp_path / "1" / "assets.extra" / "model_card.json")
    with pytest.raises(ServingError, match="is not a regular file"):
        loader.load("piped", 1, str(tmp_path / "1"))
