"""Results of finished trials on disk, so that a killed search does not repeat them.

keras-tuner's own state cannot resume a grid search and belongs to a single process. A search
proposes the same trials for the same seed and results, so that storing the results is enough.
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from typing import Any

from modules.contract.atomic_file import write_text


class FinishedTrials:
    """Results of trials, one file per result, so that several processes can share a folder.

    Args:
        directory: folder of the files, created with the first result.
    """

    def __init__(self, directory: str) -> None:
        self._directory = directory

    def get(self, values: Mapping[str, Any]) -> dict[str, float] | None:
        """Return the metrics of the trial with these values, or None if it has not finished."""
        with contextlib.suppress(FileNotFoundError), open(self._file(values), "rb") as file:
            return dict(json.load(file)["metrics"])
        return None

    def add(self, values: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        """Store the metrics of the trial with these values."""
        result = {"values": dict(values), "metrics": dict(metrics)}
        write_text(self._file(values), json.dumps(result))

    def forget(self) -> None:
        """Delete the results of a finished search."""
        shutil.rmtree(self._directory, ignore_errors=True)

    def _file(self, values: Mapping[str, Any]) -> str:
        key = json.dumps(dict(values), sort_keys=True)
        return os.path.join(self._directory, hashlib.sha256(key.encode()).hexdigest() + ".json")
