"""Reads what lies beside a pushed model: its labels, and how good it was found to be."""

import json
from pathlib import Path
from typing import Any

from modules.contract import features

_MANIFEST_FILE = "push.json"
#: Of the model card: what a person wants to see.
_CARD_KEYS = ("encoder", "metrics", "train_examples", "eval_examples", "code_digest")


class ModelFiles:
    """The folder of the pushed versions; what cannot be read from here is empty.

    Args:
        push_directory: the folder; "" or a remote URI has nothing to read.
    """

    def __init__(self, push_directory: str) -> None:
        usable = push_directory and "://" not in push_directory
        self._base = Path(push_directory) if usable else None
        self._labels: dict[int, tuple[str, ...]] = {}

    def labels(self, version: int | None) -> tuple[str, ...]:
        """The labels of a version in id order; None is the newest that is pushed."""
        if version is None:
            version = self._newest()
        if version is None:
            return ()
        if version not in self._labels:
            text = self._read(version, features.LABELS_FILE)
            if not text:
                return ()  # perhaps not there yet: look again next time
            self._labels[version] = tuple(text.splitlines())
        return self._labels[version]

    def facts(self, version: int) -> dict[str, Any]:
        """What the model card and the push manifest say of a version."""
        card, manifest = self._json(version, features.MODEL_CARD_FILE), {}
        manifest = self._json(version, _MANIFEST_FILE)
        facts = {key: card[key] for key in _CARD_KEYS if key in card}
        if "fingerprint" in manifest:
            facts["fingerprint"] = manifest["fingerprint"]
        return facts

    def _newest(self) -> int | None:
        if self._base is None or not self._base.is_dir():
            return None
        return max((int(f.name) for f in self._base.iterdir() if f.name.isdecimal()), default=None)

    def _json(self, version: int, name: str) -> dict[str, Any]:
        try:
            return dict(json.loads(self._read(version, name)))
        except (ValueError, TypeError):
            return {}

    def _read(self, version: int, name: str) -> str:
        if self._base is None:
            return ""
        try:
            return (self._base / str(version) / features.EXTRA_ASSETS / name).read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            return ""
