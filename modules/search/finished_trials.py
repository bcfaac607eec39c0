"""Results of a search's trials on disk, so that a killed search does not repeat them.

keras-tuner's own state cannot take a grid search up again, and is one process's. A search proposes
the same trials for the same seed and results, so results are all that has to be kept.
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
    """One small file a result, so that several processes can keep theirs in one folder.

    Args:
        directory: of the files; made at the first result.
    """

    def __init__(self, directory: str) -> None:
        self._directory = directory

    def get(self, values: Mapping[str, Any]) -> dict[str, float] | None:
        """Metrics of the trial with these values, or None if it has not finished yet."""
        with contextlib.suppress(FileNotFoundError), open(self._file(values), "rb") as file:
            return dict(json.load(file)["metrics"])
        return None

    def add(self, values: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        """Keep a result."""
        result = {"values": dict(values), "metrics": dict(metrics)}
        write_text(self._file(values), json.dumps(result))

    def forget(self) -> None:
        """Delete the results: the search is done."""
        shutil.rmtree(self._directory, ignore_errors=True)

    def _file(self, values: Mapping[str, Any]) -> str:
        key = json.dumps(dict(values), sort_keys=True)
        return os.path.join(self._directory, hashlib.sha256(key.encode()).hexdigest() + ".json")
