"""Held-out texts as described by the deployed model, stored as a JSON file and an array file."""

import contextlib
import dataclasses
import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np

from modules.contract.atomic_file import write_bytes
from serving.monitoring.descriptions import Array, Descriptions

#: Incremented when older files can no longer be read.
_FORMAT = 1
_JSON, _ARRAYS = "reference.json", "reference.npz"
_TRUE = "true_labels"


@dataclasses.dataclass(frozen=True)
class Reference:
    """Held-out texts as one version of the model describes them.

    Attributes:
        version: version of the model.
        labels: the model's labels, in id order.
        source: URI of the ``Model`` artifact that became the version.
        texts: the descriptions.
        true_labels: int32[texts], index into ``labels``; -1 for a label that the model lacks.
    """

    version: int
    labels: tuple[str, ...]
    source: str
    texts: Descriptions
    true_labels: Array

    @property
    def correct(self) -> Array:
        """bool[texts], whether the prediction is correct."""
        return self.texts.answers == self.true_labels

    def save(self, folder: Path) -> None:
        """Write both files, the JSON last: it validates the arrays by their digest."""
        arrays = _pack(self.texts.columns() | {_TRUE: self.true_labels})
        header = {
            "format": _FORMAT,
            "version": self.version,
            "labels": list(self.labels),
            "source": self.source,
            "texts": len(self.texts),
            "accuracy": float(np.mean(self.correct)),
            "sha256": hashlib.sha256(arrays).hexdigest(),
        }
        write_bytes(folder / _ARRAYS, arrays)
        write_bytes(folder / _JSON, (json.dumps(header, indent=2) + "\n").encode())

    @classmethod
    def load(cls, folder: Path) -> Self | None:
        """Read both files; return None if they are missing or unusable."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            header = json.loads((folder / _JSON).read_text("utf-8"))
            data = (folder / _ARRAYS).read_bytes()
            if header["format"] != _FORMAT or hashlib.sha256(data).hexdigest() != header["sha256"]:
                return None
            columns = unpack(data)
            texts = Descriptions.from_columns(columns)
            labels, true = tuple(header["labels"]), columns[_TRUE]
            if len(true) == len(texts):
                return cls(header["version"], labels, header["source"], texts, true)
        return None


def save_descriptions(path: Path, texts: Descriptions) -> None:
    """Write descriptions to a file atomically."""
    write_bytes(path, _pack(texts.columns()))


def load_descriptions(path: Path) -> Descriptions | None:
    """Read what ``save_descriptions`` wrote; return None if it is missing or unusable."""
    with contextlib.suppress(OSError, ValueError):
        return Descriptions.from_columns(unpack(path.read_bytes()))
    return None


def unpack(data: bytes) -> dict[str, Array]:
    """Return the arrays of an ``npz`` file, refusing pickled objects.

    Raises:
        ValueError: the data is damaged, or not an ``npz`` file.
    """
    import zipfile

    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (zipfile.BadZipFile, EOFError, OSError, AttributeError) as error:
        raise ValueError("the data is not a readable npz file") from error


def _pack(arrays: Mapping[str, Any]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()
