"""A stored reference is loaded unchanged, or not at all."""

from pathlib import Path

import numpy as np

from serving.monitoring.reference import Reference, load_descriptions, save_descriptions
from tests.serving.monitoring.made_descriptions import LABELS, describe_made


def make_reference() -> Reference:
    texts = describe_made(30, 1)
    true = texts.answers.copy()
    true[:6] = -1
    return Reference(7, LABELS, "/models/7", texts, true)


def test_saved_reference_is_loaded_unchanged(tmp_path: Path) -> None:
    reference = make_reference()
    reference.save(tmp_path / "7")
    back = Reference.load(tmp_path / "7")
    assert back is not None
    assert (back.version, back.labels, back.source) == (7, LABELS, "/models/7")
    for name, column in reference.texts.columns().items():
        np.testing.assert_array_equal(column, back.texts.columns()[name])
    assert back.correct.mean() == 0.8
    assert sorted(path.name for path in (tmp_path / "7").iterdir()) == [
        "reference.json",
        "reference.npz",
    ]


def test_missing_or_damaged_reference_is_none(tmp_path: Path) -> None:
    assert Reference.load(tmp_path) is None
    make_reference().save(tmp_path)
    arrays = tmp_path / "reference.npz"
    data = arrays.read_bytes()
    for damaged in (b"", data[:-10], data[:200] + b"x" + data[201:]):
        arrays.write_bytes(damaged)
        assert Reference.load(tmp_path) is None
    arrays.write_bytes(data)
    assert Reference.load(tmp_path) is not None
    (tmp_path / "reference.json").write_text("{}")
    assert Reference.load(tmp_path) is None


def test_pickles_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "window.npz"
    np.savez(path, identities=np.array([object()], object))
    assert load_descriptions(path) is None


def test_saved_descriptions_are_loaded_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "window.npz"
    assert load_descriptions(path) is None
    save_descriptions(path, describe_made(5, 1))
    back = load_descriptions(path)
    assert back is not None
    assert back.identities.tolist() == describe_made(5, 1).identities.tolist()
