"""The digest follows imports and covers only code that runs."""

from pathlib import Path

import pytest

from components import code_digest as module
from components.code_digest import code_digest, import_closure


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write first-party modules, of which modules.entry imports all except modules.unused."""
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "__init__.py").write_text('"""Package."""\n')
    (folder / "entry.py").write_text("from modules.used import value\n\nanswer = value\n")
    (folder / "used.py").write_text('"""Doc."""\nimport os\nfrom . import deeper\nvalue = 1\n')
    (folder / "deeper.py").write_text("depth = 1\n")
    (folder / "unused.py").write_text("value = 1\n")
    monkeypatch.setattr(module, "SOURCE_ROOT", tmp_path)
    _forget()
    yield tmp_path
    _forget()


def _forget() -> None:
    module._tree.cache_clear()
    module._code.cache_clear()


def _digest_after(path: Path, text: str) -> str:
    path.write_text(text)
    _forget()
    return code_digest("modules.entry")


def test_closure_follows_absolute_and_relative_imports(tree: Path) -> None:
    names = {path.name for path in import_closure("modules.entry")}
    assert names == {"__init__.py", "entry.py", "used.py", "deeper.py"}


@pytest.mark.parametrize("name", ["entry.py", "used.py", "deeper.py"])
def test_edit_in_the_closure_changes_the_digest(tree: Path, name: str) -> None:
    before = code_digest("modules.entry")
    path = tree / "modules" / name
    assert _digest_after(path, path.read_text() + "extra = 2\n") != before


def test_edit_outside_the_closure_keeps_the_digest(tree: Path) -> None:
    before = code_digest("modules.entry")
    assert _digest_after(tree / "modules" / "unused.py", "value = 2\n") == before


def test_comments_docstrings_and_layout_keep_the_digest(tree: Path) -> None:
    before = code_digest("modules.entry")
    text = '"""Other words."""\n\nimport os  # why\n\nfrom . import deeper\n\nvalue = (1)\n'
    assert _digest_after(tree / "modules" / "used.py", text) == before


def test_unknown_entry_module_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no first-party module named 'keras.layers'"):
        code_digest("keras.layers")


def test_training_depends_on_the_model_and_transform_does_not() -> None:
    training = {path.name for path in import_closure("modules.training")}
    preprocessing = {path.name for path in import_closure("modules.preprocessing")}
    assert "model.py" in training
    assert "model.py" not in preprocessing
    assert "names.py" in preprocessing
