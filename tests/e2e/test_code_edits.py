"""An edit in ``modules/`` runs only the components that depend on it, and their successors."""

import dataclasses
import shutil
from pathlib import Path

import pytest

from tests.e2e.conftest import REPOSITORY, Workplace

pytestmark = pytest.mark.slow

PACKAGES = ("cli", "pipeline", "components", "modules", "runners", "serving", "data")
MODEL = "modules/network/model.py"


@pytest.fixture(scope="module")
def editable(tiny: Workplace, tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """Run the workplace once with a copy of the source that tests can edit."""
    source = tmp_path_factory.mktemp("source")
    for package in PACKAGES:
        shutil.copytree(
            REPOSITORY / package, source / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    workplace = dataclasses.replace(tiny, source=source)
    workplace.run()
    return workplace


def _ran(workplace: Workplace) -> set[str]:
    states = workplace.run()
    return {name for name, state in states.items() if state == "ran"} - {"Resolver"}


def _append(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


def test_nothing_runs_without_an_edit(editable: Workplace) -> None:
    assert _ran(editable) == set()


def test_comment_runs_nothing_again(editable: Workplace) -> None:
    _append(editable.source / MODEL, "\n# A comment changes no behaviour.\n")
    assert _ran(editable) == set()


def test_edit_of_the_model_runs_only_the_trainer_and_its_successors(editable: Workplace) -> None:
    _append(editable.source / MODEL, "\n_UNUSED = 1\n")
    ran = _ran(editable)
    assert "Trainer" in ran
    assert not ran & {"ExampleGen", "StatisticsGen", "SchemaGen", "ExampleValidator", "Transform"}


def test_edit_of_preprocessing_runs_transform_and_its_successors(editable: Workplace) -> None:
    _append(editable.source / "modules" / "preprocessing.py", "\n_UNUSED = 1\n")
    ran = _ran(editable)
    assert {"Transform", "Trainer"} <= ran
    assert not ran & {"ExampleGen", "StatisticsGen", "SchemaGen", "ExampleValidator"}
