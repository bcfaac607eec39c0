"""Interface of a loaded model version: types only, no I/O.

A ``Servable`` runs the signatures of one version. Tensors in the front process are NumPy arrays;
string tensors are object arrays of ``bytes``. Only the worker process imports TensorFlow.
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
    """State of a version; values are those of ``ModelVersionStatus.State``."""

    UNKNOWN = 0
    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclasses.dataclass(frozen=True)
class VersionStatus:
    """Status of a model version, as reported by GetModelStatus.

    Attributes:
        version: version number.
        state: state of the version.
        code: ``OK``, or the code of the error that ended it.
        message: reason for the error; empty if there is none.
    """

    version: int
    state: State
    code: Code = Code.OK
    message: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class RunRequest:
    """One call of a signature.

    Attributes:
        signature: key of the signature, already known to exist.
        inputs: arrays by alias; names and dtypes are already checked against the signature.
        outputs: aliases of the outputs to return, already known to exist; empty returns all.
        deadline: ``time.monotonic()`` after which nobody waits for the response; None for no limit.
        examples: number of examples in the call, for admission and metrics; at least 1.
    """

    signature: str
    inputs: Tensors
    outputs: tuple[str, ...] = ()
    deadline: float | None = None
    examples: int = 1


class Servable(Protocol):
    """A loaded and warm version, pinned until it is released.

    Attributes:
        name: name of the model.
        version: version number.
        signatures: ``SignatureDef`` protos by key.
    """

    name: str
    version: int
    signatures: Mapping[str, Any]

    def submit(self, request: RunRequest) -> "concurrent.futures.Future[dict[str, np.ndarray]]":
        """Queue a call and return at once.

        Returns:
            A future of the outputs by alias. It raises ``ServingError``: ``UNAVAILABLE`` if the
            queue is full or the worker died, ``DEADLINE_EXCEEDED``, or an error of the graph such
            as ``INVALID_ARGUMENT``. Cancelling it removes the call from the queue.
        """
        ...


class ServableHandle(Protocol):
    """A pin that keeps a version loaded until ``release``; also a context manager."""

    servable: Servable

    def release(self) -> None:
        """Release the pin. Call it once."""
        ...

    def __enter__(self) -> Servable: ...

    def __exit__(self, *error: object) -> None: ...


class Models(Protocol):
    """Interface of the model manager for the request logic. All methods are thread-safe."""

    def acquire(
        self, name: str, version: int | None = None, label: str | None = None
    ) -> ServableHandle:
        """Pin a version, given by number or label; the newest available one if neither is given.

        Raises:
            ServingError: ``NOT_FOUND`` "Servable not found for request: Latest(foo)" or
                "Specific(foo, 7)"; ``INVALID_ARGUMENT`` for an unknown label.
        """
        ...

    def statuses(self, name: str, version: int | None = None) -> Sequence[VersionStatus]:
        """Return the status of every version seen so far, newest first, or only of ``version``.

        Raises:
            ServingError: ``NOT_FOUND``: the model or version is unknown.
        """
        ...

    def reload(self, config: Any, deadline: float | None = None) -> None:
        """Replace the configuration by a ``ModelServerConfig`` proto (HandleReloadConfigRequest).

        Args:
            config: the ``ModelServerConfig``.
            deadline: ``time.monotonic()`` after which the caller does not wait for new models.

        Raises:
            ServingError: the configuration is refused, or a new model cannot be served.
        """
        ...

    def ready(self) -> bool:
        """Return whether every configured model has an available, warm version."""
        ...
