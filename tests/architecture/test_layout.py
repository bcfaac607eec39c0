"""Layout and names of files, and content that must not be in the repository."""

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

REPOSITORY = Path(__file__).parents[2]
PACKAGES = ("cli", "pipeline", "components", "modules", "runners", "serving", "data")
SOURCES = sorted(path for package in PACKAGES for path in (REPOSITORY / package).rglob("*.py"))
IDS = [str(path.relative_to(REPOSITORY)) for path in SOURCES]

#: Module names that do not describe their content.
VAGUE = {"utils", "util", "helpers", "helper", "common", "misc", "tools"}

#: Paths of a particular machine, and addresses of a particular network.
FORBIDDEN = re.compile(
    r"/root/|/home/\w+/|/work/|/mnt/\w|"
    r"pythonhosted\.org|pypi\.org/simple|--(?:extra-)?index-url|--find-links|file:///|\bTODO\b|\bFIXME\b"
)
#: Files that need such words.
EXEMPT = {"tests/architecture/test_layout.py", "scripts/debian13_lane.sh"}


def tracked_files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [REPOSITORY / name for name in listed.stdout.decode().split("\0") if name]


def test_module_names_are_specific() -> None:
    vague = [
        str(path.relative_to(REPOSITORY))
        for path in tracked_files()
        if path.suffix == ".py" and VAGUE & {part.removesuffix(".py") for part in path.parts}
    ]
    assert vague == []


def test_files_contain_no_machine_paths_or_registry_addresses() -> None:
    found = []
    for path in tracked_files():
        name = str(path.relative_to(REPOSITORY))
        if name in EXEMPT or not path.is_file():
            continue
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            # The command that pins the requirements uses this option to exclude addresses.
            if match := FORBIDDEN.search(line.replace("--no-emit-index-url", "")):
                found.append(f"{name}:{number}: {match[0]}")
    assert found == []


def test_requirements_contain_only_pins_and_hashes() -> None:
    for path in sorted(REPOSITORY.glob("requirements*.txt")):
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            legal = re.match(r"[A-Za-z0-9._-]+==[^\s]+|    --hash=sha256:[0-9a-f]{64}|\s*#|$", line)
            assert legal, f"{path.name}:{number}: {line}"
            assert "://" not in line, f"{path.name}:{number}: {line}"


def _pins(name: str, python: str) -> dict[str, str]:
    """Return package -> version of a requirements file, for one version of Python."""
    environment = {"python_version": python, "python_full_version": f"{python}.0"}
    found = {}
    for line in (REPOSITORY / name).read_text("utf-8").splitlines():
        if not line.startswith((" ", "#")) and line:
            requirement = Requirement(line.rstrip("\\ "))
            if requirement.marker is None or requirement.marker.evaluate(environment):
                found[requirement.name] = str(requirement.specifier)
    return found


@pytest.mark.parametrize("python", ["3.11", "3.13"])
@pytest.mark.parametrize("name", ["requirements-dev.txt", "requirements-gpu.txt"])
def test_requirements_agree_with_each_other(name: str, python: str) -> None:
    """A package that is pinned in two files has the same version in both."""
    pins = _pins("requirements.txt", python)
    assert pins
    other = _pins(name, python)
    differing = {p: (v, pins[p]) for p, v in other.items() if pins.get(p, v) != v}
    assert differing == {}, "run make requirements"


def test_every_declared_dependency_is_pinned() -> None:
    declared = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))
    groups = {
        "requirements.txt": declared["project"]["dependencies"],
        "requirements-dev.txt": declared["dependency-groups"]["dev"],
        "requirements-gpu.txt": declared["dependency-groups"]["gpu"],
    }
    for name, dependencies in groups.items():
        pinned = (REPOSITORY / name).read_text("utf-8")
        for dependency in dependencies:
            package = re.match(r"[A-Za-z0-9._-]+", dependency)[0]
            assert re.search(rf"^{re.escape(package)}==", pinned, re.M), (
                f"{dependency} is not in {name}; run make requirements"
            )


@pytest.mark.parametrize("path", SOURCES, ids=IDS)
def test_public_names_are_documented(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    missing = [] if ast.get_docstring(tree) else ["the module"]
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        if node.name.startswith("_"):
            continue
        if not ast.get_docstring(node):
            missing.append(node.name)
        if isinstance(node, ast.ClassDef):
            missing += [
                f"{node.name}.{member.name}"
                for member in node.body
                if isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef)
                and not member.name.startswith("_")
                and not ast.get_docstring(member)
                and not any("override" in ast.unparse(d) for d in member.decorator_list)
            ]
    assert missing == []


def test_nothing_is_pickled() -> None:
    """Unpickling runs code, so nothing reads or writes pickles."""
    offenders = [
        f"{name}: {node.lineno}"
        for path, name in zip(SOURCES, IDS, strict=True)
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for imported in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
        )
        if imported.split(".")[0] in {"pickle", "cPickle", "shelve", "marshal", "dill", "joblib"}
    ]
    assert offenders == []


def test_class_names_are_unique() -> None:
    places: dict[str, list[str]] = {}
    for path, name in zip(SOURCES, IDS, strict=True):
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(name)
    assert {name: files for name, files in places.items() if len(files) > 1} == {}


@pytest.mark.parametrize("package", ["runners", "serving", "modules"])
def test_package_has_few_entries(package: str) -> None:
    entries = {
        path.relative_to(REPOSITORY / package).parts[0]
        for path in (REPOSITORY / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    } - {"__init__.py", "py.typed"}
    assert len(entries) <= 12, sorted(entries)
