"""For scripts below this folder that are run by their path: the repository's packages."""

import sys
import types
from pathlib import Path

ROOT = Path(__file__).parents[2]


def use_repository() -> None:
    """Let ``modules``, ``tests`` and the others be imported."""
    sys.path.insert(0, str(ROOT))
    tests = types.ModuleType("tests")  # another package of that name may be installed
    tests.__path__ = [str(ROOT / "tests")]
    sys.modules["tests"] = tests
