"""What a loaded model version is to the rest of the server: types only, no I/O.

A ``Servable`` runs the signatures of one version. Tensors in the front are NumPy arrays; string
tensors are object arrays of ``bytes``. TensorFlow itself lives in the worker process alone.
"""

import concurrent.futures
import dataclasses
import enum
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from serving.protocol.errors import Code

Tensors = Mapping[str, np.ndarray]


class State(enum.IntEnum):
    """Life of a version; values are ``ModelVersionStatus.State``'s (get_model_status.proto)."""

    UNKNOWN = 0
    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclasses.dataclass(frozen=True)
class VersionStatus:
    """One version of a model as GetModelStatus reports it.

    Attributes:
        version: its number.
        state: where it is in its life.
        code: ``OK``, or why it ended.
        message: empty, or why it ended.
    """

    version: int
    state: State
    code: Code = Code.OK
    message: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class RunRequest:
    """One call of one signature.

    Attributes:
        signature: key of the signature, already known to exist.
        inputs: alias -> array, names and dtypes already checked against the signature.
        outputs: aliases wanted, already known to exist; empty wants all.
        deadline: ``time.monotonic()`` after which nobody waits for the answer; None is never.
        examples: how many examples the call holds, for admission and metrics; at least 1.
    """

    signature: str
    inputs: Tensors
    outputs: tuple[str, ...] = ()
    deadline: float | None = None
    examples: int = 1


class Servable(Protocol):
    """A loaded, warm version, pinned until it is released.

    Attributes:
        name: the model's.
        version: its number.
        signatures: ``SignatureDef`` protos by key.
    """

    name: str
    version: int
    signatures: Mapping[str, Any]

    def submit(self, request: RunRequest) -> "concurrent.futures.Future[dict[str, np.ndarray]]":
        """Queue a call; returns at once.

        The future gives the outputs by alias, or raises ``ServingError``: ``UNAVAILABLE`` when the
        queue is full or the worker died, ``DEADLINE_EXCEEDED``, ``INVALID_ARGUMENT`` from the
        graph. Cancelling it takes the call out of the queue.
        """
        ...


class ServableHandle(Protocol):
    """A pin on a version: it is not unloaded before ``release``. A context manager too."""

    servable: Servable

    def release(self) -> None:
        """Let the version go. Once."""
        ...

    def __enter__(self) -> Servable: ...

    def __exit__(self, *error: object) -> None: ...


class Models(Protocol):
    """What the request logic asks of the manager. All methods are thread-safe."""

    def acquire(
        self, name: str, version: int | None = None, label: str | None = None
    ) -> ServableHandle:
        """Pin a version: the one named, the one labelled, or the newest available.

        Raises:
            ServingError: ``NOT_FOUND`` "Servable not found for request: Latest(foo)" or
                "Specific(foo, 7)"; ``INVALID_ARGUMENT`` for an unknown label.
        """
        ...

    def statuses(self, name: str, version: int | None = None) -> Sequence[VersionStatus]:
        """Every version ever seen of a model, newest first, or the one.

        Raises:
            ServingError: ``NOT_FOUND``.
        """
        ...

    def reload(self, config: Any) -> None:
        """Serve what a ``ModelServerConfig`` proto says from now on (HandleReloadConfigRequest)."""
        ...

    def ready(self) -> bool:
        """Every configured model has a version that is available, and warm."""
        ...
