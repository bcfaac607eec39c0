"""An edit in ``modules/`` runs exactly the components that depend on it, and what follows them."""

import dataclasses
import shutil
from pathlib import Path

import pytest

from tests.e2e.conftest import REPOSITORY, Workplace

pytestmark = pytest.mark.slow

PACKAGES = ("pipeline", "components", "modules", "runners", "serving", "data")


@pytest.fixture(scope="module")
def editable(tiny: Workplace, tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """The workplace, run once by a copy of the source that may be edited."""
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


def test_without_an_edit_nothing_runs(editable: Workplace) -> None:
    assert _ran(editable) == set()


def test_a_comment_runs_nothing(editable: Workplace) -> None:
    _append(editable.source / "modules" / "model.py", "\n# A comment changes no behaviour.\n")
    assert _ran(editable) == set()


def test_the_model_is_the_trainers_business(editable: Workplace) -> None:
    _append(editable.source / "modules" / "model.py", "\n_UNUSED = 1\n")
    ran = _ran(editable)
    assert "Trainer" in ran
    assert not ran & {"ExampleGen", "StatisticsGen", "SchemaGen", "ExampleValidator", "Transform"}


def test_preprocessing_is_transforms_business(editable: Workplace) -> None:
    _append(editable.source / "modules" / "preprocessing.py", "\n_UNUSED = 1\n")
    ran = _ran(editable)
    assert {"Transform", "Trainer"} <= ran
    assert not ran & {"ExampleGen", "StatisticsGen", "SchemaGen", "ExampleValidator"}
