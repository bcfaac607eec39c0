"""Import path for the scripts in this folder's subfolders, which are run by their path."""

import sys
import types
from pathlib import Path

ROOT = Path(__file__).parents[2]


def use_repository() -> None:
    """Make the repository's packages importable."""
    sys.path.insert(0, str(ROOT))
    tests = types.ModuleType("tests")  # site-packages may contain another package "tests"
    tests.__path__ = [str(ROOT / "tests")]
    sys.modules["tests"] = tests
