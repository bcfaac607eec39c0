"""Import rules that import-linter cannot state, and how light the command line is to load."""

import ast
import functools
import graphlib
import os
import resource
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PACKAGES = ("cli", "pipeline", "components", "modules", "runners", "serving", "data")
SOURCES = sorted(path for package in PACKAGES for path in (REPOSITORY / package).rglob("*.py"))

#: Loaded by a module that the command line needs at start, each would cost seconds.
HEAVY = {
    "apache_beam",
    "keras",
    "keras_hub",
    "matplotlib",
    "ml_metadata",
    "numpy",
    "pandas",
    "pyarrow",
    "sqlalchemy",
    "tensorflow",
    "tfx",
}

#: A platform's client library -> the packages that may import it.
PLATFORMS = {
    "kfp": {"runners.kubeflow", "runners.remote"},
    "kfp_server_api": {"runners.kubeflow"},
    "google.cloud.aiplatform_v1": {"runners.vertex"},
    "airflow": {"runners.airflow"},
}


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")


@functools.cache
def imported_names(path: Path) -> set[str]:
    """Absolute names that a file imports anywhere, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def imported_files(path: Path, files: Collection[str]) -> set[str]:
    """First-party files that a file imports, except for type checking only."""
    tree = ast.parse(path.read_text("utf-8"))
    for_types = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test)
        for node in ast.walk(block)
    }
    names: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            submodules = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= submodules if submodules <= set(files) else {node.module, *submodules}
    return names & set(files)


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


@pytest.mark.parametrize("path", sorted((REPOSITORY / "modules/contract").glob("*.py")))
def test_contract_module_needs_only_the_standard_library(path: Path) -> None:
    imported = {name for name in imported_names(path) if not within(name, "modules.contract")}
    assert {top for top in (i.split(".")[0] for i in imported)} <= sys.stdlib_module_names


@pytest.mark.parametrize("platform", sorted(PLATFORMS))
def test_platform_library_stays_in_its_runner(platform: str) -> None:
    importers = {
        module_name(path)
        for path in SOURCES
        if any(within(name, platform) for name in imported_names(path))
    }
    assert [
        name
        for name in importers
        if not any(within(name, package) for package in PLATFORMS[platform])
    ] == []


def test_pyarrow_is_imported_only_where_it_is_made_safe() -> None:
    """Elsewhere, reading a Parquet file with pyarrow before 14.0.1 could run code from it."""
    importers = {
        module_name(path)
        for path in SOURCES
        for name in imported_names(path)
        if within(name, "pyarrow") or within(name, "pyarrow_hotfix")
    }
    assert importers == {"components.ingestion.arrow"}


def test_no_file_that_can_hold_code_is_read_with_pandas() -> None:
    readers = {"read_feather", "read_hdf", "read_orc", "read_parquet", "read_pickle"}
    offenders = [
        f"{module_name(path)}:{node.lineno}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in readers
    ]
    assert offenders == []


def test_no_two_files_import_each_other() -> None:
    """Imports inside functions count: a cycle that is hidden there is still a cycle."""
    files = {module_name(path): path for path in SOURCES}
    sorter = graphlib.TopologicalSorter(
        {name: imported_files(path, files) - {name} for name, path in files.items()}
    )
    sorter.prepare()  # raises CycleError, which names the files


def test_keras_is_never_reached_through_tensorflow() -> None:
    """What ``tf.keras`` means flips with the import order once TFT is loaded."""
    offenders = [
        f"{module_name(path)}:{node.lineno}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute)
        and node.attr == "keras"
        and isinstance(node.value, ast.Name)
        and node.value.id in {"tf", "tensorflow"}
    ]
    assert offenders == []
    assert not any(within(n, "tensorflow.keras") for p in SOURCES for n in imported_names(p))


@pytest.mark.parametrize("module", ["pipeline.config", "cli.main"])
def test_module_loads_without_tensorflow(module: str) -> None:
    script = f"import sys, {module}; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert set(done.stdout.split()) & HEAVY == set()


def test_help_answers_at_once() -> None:
    command = [sys.executable, "-m", "cli.main", "--help"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE_")}
    options = {"cwd": REPOSITORY, "env": environment, "capture_output": True, "text": True}
    subprocess.run(command, check=True, **options)  # compiles the files
    spent = []
    for _ in range(3):
        before = children_seconds()
        done = subprocess.run(command, check=True, **options)
        spent.append(children_seconds() - before)
    assert "run" in done.stdout
    # 0.1 s of processor time here; the limit leaves room for slow machines.
    assert min(spent) < 1.0


def children_seconds() -> float:
    """Processor time of the children that this process has waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
