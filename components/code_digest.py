"""Digest of the code that a component runs, for TFX's cache key. Standard library only.

TFX's cache key covers parameters and input artifacts, but not code referenced by dotted path. Each
component that runs first-party code therefore has the parameter ``code_digest``: a hash over the
entry module and every first-party module that it imports, directly or not. Comments, docstrings and
layout are excluded, so editing them runs nothing again.
"""

import ast
import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path

#: The folder that holds the first-party packages.
SOURCE_ROOT = Path(__file__).resolve().parent.parent

FIRST_PARTY = ("cli", "components", "data", "modules", "pipeline", "runners", "serving")


def code_digest(*modules: str) -> str:
    """Return the SHA-256 over the first-party import closure of ``modules``.

    Args:
        *modules: dotted names of entry modules, such as ``"modules.training"``.

    Returns:
        64 hexadecimal digits.

    Raises:
        ValueError: an entry module is not a first-party module.
    """
    for module in modules:
        if not any(_source_files(module)):
            raise ValueError(f"no first-party module named {module!r} under {FIRST_PARTY}")
    digest = hashlib.sha256()
    for path in sorted(import_closure(*modules)):
        digest.update(path.relative_to(SOURCE_ROOT).as_posix().encode())
        digest.update(_code(path).encode())
    return digest.hexdigest()


def import_closure(*modules: str) -> frozenset[Path]:
    """Return the files of ``modules`` and of all first-party modules that they import."""
    found: set[Path] = set()
    waiting = [path for module in modules for path in _source_files(module)]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.add(path)
        waiting.extend(_imported_files(path))
    return frozenset(found)


def _source_files(module: str) -> Iterator[Path]:
    """Yield the files of a first-party module and of its parent packages."""
    parts = module.split(".")
    if parts[0] not in FIRST_PARTY:
        return
    for depth in range(1, len(parts) + 1):
        base = SOURCE_ROOT.joinpath(*parts[:depth])
        if (base / "__init__.py").is_file():
            yield base / "__init__.py"
        elif base.with_suffix(".py").is_file():
            yield base.with_suffix(".py")


def _imported_files(path: Path) -> Iterator[Path]:
    package = path.parent.relative_to(SOURCE_ROOT).parts
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _source_files(alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *filter(None, [node.module])])
            yield from _source_files(module)
            for alias in node.names:
                yield from _source_files(f"{module}.{alias.name}")


@functools.cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes(), filename=str(path))


@functools.cache
def _code(path: Path) -> str:
    """Return the file's syntax tree as text, without docstrings."""
    tree = _tree(path)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:]
    return ast.dump(tree)
