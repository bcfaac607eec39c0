"""Checkpoints of a training run: the complete state of training in one ``.npz`` file.

It is replaced atomically, so that a kill at any moment leaves the last whole checkpoint.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from modules.contract.atomic_file import whole_binary_file

_FILE = "checkpoint.npz"
_STATE = "state"


def fingerprint(*parts: object) -> str:
    """Return a hex digest that identifies a run by its JSON-serialisable parts or bytes."""
    digest = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else json.dumps(part, sort_keys=True).encode()
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


class CheckpointStore:
    """The checkpoint of one run, in ``directory``.

    Args:
        directory: folder of this run only; created by the first save.
    """

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.path = os.path.join(directory, _FILE)

    def save(
        self,
        variables: Sequence[keras.Variable],
        state: Mapping[str, Any],
        extra: Mapping[str, np.ndarray],
    ) -> None:
        """Replace the checkpoint.

        Args:
            variables: weights, optimizer slots and seed states, in a fixed order.
            state: small JSON values (epoch, step, ...).
            extra: additional arrays, e.g. the best weights so far.
        """
        arrays = {
            f"variable_{i}": np.asarray(keras.ops.convert_to_numpy(v))
            for i, v in enumerate(variables)
        }
        arrays |= {f"extra_{name}": value for name, value in extra.items()}
        arrays[_STATE] = np.frombuffer(json.dumps(dict(state)).encode(), np.uint8)
        # A fixed name: however often the run is killed, one partial checkpoint takes up disk space.
        with whole_binary_file(self.path, aside=self.path + ".part") as file:
            np.savez(file, **arrays)

    def load(
        self, variables: Sequence[keras.Variable]
    ) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
        """Assign the checkpoint's values to ``variables``.

        Returns:
            ``(state, extra)``, or None if there is no checkpoint.
        """
        if not os.path.exists(self.path):
            return None
        with np.load(self.path, allow_pickle=False) as arrays:
            for i, variable in enumerate(variables):
                variable.assign(arrays[f"variable_{i}"])
            state = json.loads(arrays[_STATE].tobytes())
            extra = {
                name.removeprefix("extra_"): arrays[name]
                for name in arrays.files
                if name.startswith("extra_")
            }
        return state, extra

    def remove(self) -> None:
        """Delete the checkpoint of a finished run."""
        shutil.rmtree(self.directory, ignore_errors=True)
