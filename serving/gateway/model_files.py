"""Labels and model card facts of the pushed versions, for the gateway."""

import contextlib
from pathlib import Path
from typing import Any

from modules.contract import pushed_model
from modules.contract.errors import UserError

#: Keys of the model card that are shown to users.
_CARD_KEYS = ("encoder", "metrics", "train_examples", "eval_examples", "code_digest")


class ModelFiles:
    """Files of the pushed versions; unreadable ones count as empty.

    Args:
        push_directory: the push folder; nothing is read if it is "" or a remote URI.
    """

    def __init__(self, push_directory: str) -> None:
        usable = push_directory and "://" not in push_directory
        self._base = Path(push_directory) if usable else None
        self._labels: dict[int, tuple[str, ...]] = {}

    def labels(self, version: int | None) -> tuple[str, ...]:
        """Return the labels of a version in id order; None is the newest pushed version."""
        if self._base is None:
            return ()
        with contextlib.suppress(OSError, ValueError, UserError):
            if version is None:
                version = max(pushed_model.complete_versions(self._base), default=None)
            if version is not None and version not in self._labels:
                folder = pushed_model.version_folder(self._base, version)
                # An empty list is not cached: the file may still be arriving.
                if labels := pushed_model.read_labels(folder):
                    self._labels[version] = tuple(labels)
        return self._labels.get(version, ()) if version is not None else ()

    def facts(self, version: int) -> dict[str, Any]:
        """Return facts from the model card and the manifest of a version."""
        facts: dict[str, Any] = {}
        if self._base is None:
            return facts
        with contextlib.suppress(OSError, ValueError):
            card = pushed_model.read_model_card(pushed_model.version_folder(self._base, version))
            facts = {key: card[key] for key in _CARD_KEYS if key in card}
        with contextlib.suppress(OSError, ValueError):
            manifest = pushed_model.read_manifest(pushed_model.version_folder(self._base, version))
            facts["fingerprint"] = manifest.fingerprint
        return facts
