"""The folders of tests mirror the packages."""

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PACKAGES = ("cli", "pipeline", "components", "modules", "runners", "serving", "data")
#: The same tests, run against our model server and TensorFlow Serving.
ACROSS_PACKAGES = {"serving/server/conformance"}


@pytest.mark.parametrize("package", PACKAGES)
def test_folder_of_tests_has_the_path_of_a_product_folder(package: str) -> None:
    tests = REPOSITORY / "tests"
    folders = {path.parent.relative_to(tests) for path in (tests / package).rglob("test_*.py")}
    strays = [
        str(folder)
        for folder in sorted(folders)
        if str(folder) not in ACROSS_PACKAGES and not (REPOSITORY / folder).is_dir()
    ]
    assert strays == []
    assert folders, f"no tests of {package}"


def test_every_test_file_has_tests() -> None:
    empty = [
        str(path.relative_to(REPOSITORY))
        for path in sorted((REPOSITORY / "tests").rglob("test_*.py"))
        if not re.search(r"\bdef test_|\bTestCase\b", path.read_text("utf-8"))
    ]
    assert empty == []
