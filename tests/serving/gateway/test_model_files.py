import json
from pathlib import Path

import pytest

from modules.contract.pushed_model import Manifest
from serving.gateway.model_files import ModelFiles
from tests.serving.gateway.gateways import LABELS, write_labels


@pytest.mark.parametrize("folder", ["", "gs://bucket/models"])
def test_nothing_is_read_without_a_local_folder(folder: str) -> None:
    files = ModelFiles(folder)
    assert (files.labels(None), files.labels(7), files.facts(7)) == ((), (), {})


def test_labels_of_no_version_are_the_newest_versions(tmp_path: Path) -> None:
    files = ModelFiles(str(tmp_path))
    assert files.labels(None) == ()
    write_labels(tmp_path, 7)
    write_labels(tmp_path, 10)
    (tmp_path / "10" / "assets.extra" / "labels.txt").write_text("a\nb\n")
    assert files.labels(None) == ("a", "b")
    assert files.labels(7) == tuple(LABELS)


def test_labels_written_later_are_read(tmp_path: Path) -> None:
    files = ModelFiles(str(tmp_path))
    assert files.labels(7) == ()
    write_labels(tmp_path, 7)
    assert files.labels(7) == tuple(LABELS)


def test_facts_are_those_of_the_card_and_the_manifest(tmp_path: Path) -> None:
    write_labels(tmp_path, 7)
    assets = tmp_path / "7" / "assets.extra"
    (assets / "model_card.json").write_text(json.dumps({"encoder": "minilm", "secret": 1}))
    manifest = Manifest(version=7, source="model/1", fingerprint="ab")
    (assets / "push.json").write_text(manifest.to_json())
    files = ModelFiles(str(tmp_path))
    assert files.facts(7) == {"encoder": "minilm", "fingerprint": "ab"}
    (assets / "model_card.json").write_text("[")
    (assets / "push.json").write_bytes(b"\xff")
    assert files.facts(7) == {}
