"""Contents of a wheel: type markers and the files that the code reads at run time."""

import ast
from pathlib import Path

import pytest
from setuptools.dist import Distribution

REPOSITORY = Path(__file__).parents[2]
PACKAGES = ("cli", "pipeline", "components", "modules", "runners", "serving", "data")
#: Files for operators, who apply them from a checkout; no code reads them.
NOT_SHIPPED = {"serving/deploy"}


@pytest.fixture(scope="module")
def shipped() -> set[str]:
    """Paths in a wheel, from setuptools' own reading of pyproject.toml."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(REPOSITORY)
        distribution = Distribution({"src_root": str(REPOSITORY), "script_name": "setup.py"})
        distribution.parse_config_files(["pyproject.toml"])
        build = distribution.get_command_obj("build_py")
        build.ensure_finalized()
        modules = {Path(path) for _, _, path in build.find_all_modules()}
        data = {Path(folder, name) for _, folder, _, names in build.data_files for name in names}
        return {str(path.resolve().relative_to(REPOSITORY)) for path in modules | data}


def files_below(path: Path) -> set[str]:
    found = [path] if path.is_file() else path.rglob("*")
    return {
        str(each.relative_to(REPOSITORY))
        for each in found
        if each.is_file() and "__pycache__" not in each.parts
    }


def paths_from_file(source: Path) -> list[Path]:
    """Values of a module's constants that are made from ``__file__``."""
    return [
        eval(ast.unparse(node.value), {"Path": Path, "__file__": str(source)})
        for node in ast.parse(source.read_text("utf-8")).body
        if isinstance(node, ast.Assign) and "__file__" in ast.unparse(node.value)
    ]


def test_every_package_is_marked_as_typed(shipped: set[str]) -> None:
    assert {f"{package}/py.typed" for package in PACKAGES} <= shipped


def test_every_file_of_the_packages_is_shipped(shipped: set[str]) -> None:
    files = set().union(*(files_below(REPOSITORY / package) for package in PACKAGES))
    left_out = {name for name in files - shipped if not name.startswith(tuple(NOT_SHIPPED))}
    assert left_out == set()
    assert {name.split("/")[0] for name in shipped} == set(PACKAGES)


def test_files_that_code_reads_are_shipped(shipped: set[str]) -> None:
    read: set[str] = set()
    for source in (REPOSITORY / name for name in sorted(shipped) if name.endswith(".py")):
        for path in paths_from_file(source):
            if path.relative_to(REPOSITORY).parts[:1] and path.is_relative_to(source.parent):
                read |= files_below(path)
    assert read <= shipped
    assert {
        "components/infra_validation/serving_ops.csv",
        "pipeline/configs/imdb.toml",
        "pipeline/default.toml",
        "runners/airflow/dag.py",
        "serving/gateway/page.html",
    } <= read
