"""Layout of the push folder and readers of the files in a pushed version. Standard library only.

::

    <push folder>/1764547200/saved_model.pb
                             assets.extra/push.json          the manifest
                                          labels.txt         a label per line, in id order
                                          model_card.json    encoder, settings and metrics

A version is complete once it holds ``saved_model.pb``: the pushers write that file last, or rename
a finished folder. ``names_by_version``, ``parse_labels`` and ``Manifest.from_json`` take names and
text, so they also serve folders that only TFX's fileio reaches.
"""

import dataclasses
import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, Self

from modules.contract import features
from modules.contract.errors import UserError

#: Paths within a version folder.
MODEL_FILE: Final = "saved_model.pb"
MANIFEST_FILE: Final = f"{features.EXTRA_ASSETS}/push.json"
LABELS_FILE: Final = f"{features.EXTRA_ASSETS}/{features.LABELS_FILE}"
MODEL_CARD_FILE: Final = f"{features.EXTRA_ASSETS}/{features.MODEL_CARD_FILE}"

_VERSION = re.compile(r"[0-9]+")
#: TensorFlow Serving's versions are int64.
_GREATEST = 2**63 - 1


def names_by_version(names: Iterable[str]) -> dict[int, str]:
    """Return the names that are versions, by number in ascending order.

    As in TensorFlow Serving, a version is named by ASCII digits, and leading zeros parse. Of
    several names for one number, the last in sort order counts: ``7``, not ``007``.

    Args:
        names: of the entries of a push folder.
    """
    matching = (name for name in sorted(names) if _VERSION.fullmatch(name))
    return dict(sorted((int(name), name) for name in matching if int(name) <= _GREATEST))


def version_folders(base: str | os.PathLike[str]) -> dict[int, Path]:
    """Return the folders that are named as versions, complete or not, by ascending number.

    Args:
        base: the push folder; it need not exist.

    Raises:
        OSError: the push folder cannot be read.
    """
    try:
        with os.scandir(base) as entries:
            names = [entry.name for entry in entries if entry.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return {number: Path(base, name) for number, name in names_by_version(names).items()}


def complete_versions(base: str | os.PathLike[str]) -> dict[int, Path]:
    """Return the folders of the complete versions; otherwise as ``version_folders``.

    Raises:
        OSError: the push folder cannot be read.
    """
    return {
        number: folder
        for number, folder in version_folders(base).items()
        if (folder / MODEL_FILE).is_file()
    }


def version_folder(base: str | os.PathLike[str], version: int) -> Path:
    """Return the folder of a version, complete or not; the path it would have if it is missing.

    Raises:
        OSError: the push folder cannot be read.
    """
    return version_folders(base).get(version, Path(base, str(version)))


def find_version(base: str | os.PathLike[str], version: int | None = None) -> Path:
    """Return the folder of a complete version.

    Args:
        base: ``pusher.base_directory``.
        version: its number; None is the newest.

    Raises:
        UserError: nothing is pushed, or not that version.
        OSError: the push folder cannot be read.
    """
    found = complete_versions(base)
    if not found:
        raise UserError(f"no model is pushed to {base}; `bert run` trains and pushes one")
    if version is None:
        version = max(found)
    if version not in found:
        legal = ", ".join(map(str, found))
        raise UserError(f"no version {version} under {base}; pushed are {legal}")
    return found[version]


@dataclasses.dataclass(frozen=True)
class Manifest:
    """Identity of a pushed model.

    Attributes:
        fingerprint: SHA-256 over the export's files; see ``components.publishing.manifest``.
        source: URI of the ``Model`` artifact that was pushed.
        version: number of the version folder.
    """

    fingerprint: str
    source: str
    version: int

    @classmethod
    def unknown(cls, version: int) -> Self:
        """Return the manifest of a version that this project's pushers did not write."""
        return cls("", "", version)

    def to_json(self) -> str:
        """Return the manifest as one line of JSON."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Parse the output of ``to_json``.

        Raises:
            ValueError: the text is not a manifest.
        """
        try:
            values = json.loads(text)
            return cls(str(values["fingerprint"]), str(values["source"]), int(values["version"]))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"not a manifest: {text[:80]!r}") from error


def read_manifest(folder: str | os.PathLike[str]) -> Manifest:
    """Read the manifest of a version folder.

    Raises:
        OSError: it is missing or cannot be read.
        ValueError: it is damaged.
    """
    return Manifest.from_json(Path(folder, MANIFEST_FILE).read_text("utf-8"))


def parse_labels(text: str) -> list[str]:
    """Return the labels in a label list, in id order."""
    return text.splitlines()


def read_labels(folder: str | os.PathLike[str]) -> list[str]:
    """Read the labels of a version folder, in id order.

    Raises:
        UserError: there is no label list, so this project did not train the model.
        OSError: the label list cannot be read.
        ValueError: it is not UTF-8.
    """
    try:
        return parse_labels(Path(folder, LABELS_FILE).read_text("utf-8"))
    except FileNotFoundError as error:
        raise UserError(
            f"{folder} has no {features.LABELS_FILE}; it is no model of `bert`"
        ) from error


def read_model_card(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the model card of a version folder.

    Raises:
        OSError: it is missing or cannot be read.
        ValueError: it is not a JSON object.
    """
    path = Path(folder, MODEL_CARD_FILE)
    card = json.loads(path.read_text("utf-8"))
    if not isinstance(card, dict):
        raise ValueError(f"{path} must be a JSON object; it is a {type(card).__name__}")
    return card
