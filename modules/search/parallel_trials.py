"""Parallel trials of one search in several processes, on one or more machines, from ``TF_CONFIG``.

This is keras-tuner's own distribution (``keras_tuner/src/distribute``): the chief holds the oracle,
which proposes trials and receives their results, and serves it over gRPC; every process requests
its trials there. There are three differences:

* The chief runs trials too, because its machine would be idle otherwise. It also calls the oracle
  over gRPC, because a direct call that fails never releases the oracle's lock.
* Three consecutive failures end the search in all processes. In keras-tuner, they fail one worker's
  call and the chief waits forever.
* A worker that waits for the results of others polls once per second instead of continuously.
"""

import contextlib
import dataclasses
import ipaddress
import socket
import time
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import grpc
from keras_tuner.src import protos
from keras_tuner.src.distribute.oracle_chief import OracleServicer
from keras_tuner.src.distribute.oracle_client import OracleClient
from keras_tuner.src.engine.trial import Trial, TrialStatus

from modules.contract.errors import ModelError
from modules.fit import worker_place

_POLL_SECONDS = 1.0
#: How long the chief waits at the end for workers to request one more trial and learn that there is
#: none. A worker that is later waits 60 minutes for the chief, as in keras-tuner, unless the
#: platform stops it because the chief has exited.
_FAREWELL_SECONDS = 60.0


@dataclasses.dataclass(frozen=True)
class TrialGroup:
    """This process among the processes of a search.

    Attributes:
        index: its number, from 0. Process 0 is the chief, which holds the oracle and reports.
        count: number of processes.
        address: HOST:PORT of the chief.
    """

    index: int
    count: int
    address: str

    @property
    def is_chief(self) -> bool:
        """Whether this process holds the oracle."""
        return self.index == 0


def group() -> TrialGroup | None:
    """Return the place of this process in ``TF_CONFIG``, or None if it searches alone.

    Raises:
        UserError: ``TF_CONFIG`` is malformed, or has roles other than chief and worker.
    """
    found = worker_place.place()
    return TrialGroup(*found, worker_place.chief_address()) if found else None


@contextlib.contextmanager
def shared_oracle(tuner: Any, trials: TrialGroup | None) -> Iterator[None]:
    """Let a tuner share the chief's oracle with the other processes of its group.

    Args:
        tuner: a ``keras_tuner.engine.base_tuner.BaseTuner`` with its own oracle. Within the block
            it uses the chief's oracle. Afterwards the chief's tuner has its own oracle again,
            with the results of all processes.
        trials: the group, or None to change nothing.

    Raises:
        ModelError: the port in ``TF_CONFIG`` is in use, or the chief no longer responds.
        RuntimeError: on the chief, as in keras-tuner, if too many consecutive trials failed.
    """
    if trials is None:
        yield
        return
    oracle = tuner.oracle
    tuner.tuner_id = f"worker-{trials.index}"
    tuner.oracle = _Client(oracle, trials.address, tuner.tuner_id)
    served = _serve(oracle, trials) if trials.is_chief else contextlib.nullcontext()
    try:
        with served as servicer:
            yield
            if servicer:
                _wait_for_others(servicer, trials)
    except grpc.RpcError as error:
        raise ModelError(
            f"the Tuner's chief at {trials.address} (from TF_CONFIG) failed with "
            f"{error.code().name}: {error.details()}; see its log for the reason"
        ) from error
    finally:
        if trials.is_chief:
            tuner.oracle = oracle


class _Client(OracleClient):
    """keras-tuner's client with explicit arguments in place of three environment variables."""

    def __init__(self, oracle: Any, address: str, tuner_id: str) -> None:
        self._oracle = oracle
        self.stub = protos.get_service_grpc().OracleStub(grpc.insecure_channel(address))
        self.tuner_id = tuner_id
        self.multi_worker = False
        self.should_report = True

    def create_trial(self, tuner_id: str) -> Any:
        """Return the next trial or the end of the search; wait for others' results if needed."""
        while (trial := super().create_trial(tuner_id)).status == TrialStatus.IDLE:
            time.sleep(_POLL_SECONDS)
        return trial

    def save(self, *_: Any) -> None:
        """Do nothing, because the chief's oracle saves itself."""


class _Servicer(OracleServicer):
    """The oracle's gRPC service.

    Attributes:
        failure: why the search was aborted, or "".
        told: names of the processes that know that no trial is left.
    """

    def __init__(self, oracle: Any) -> None:
        super().__init__(oracle)
        self.failure = ""
        self.told: set[str] = set()

    def CreateTrial(self, request: Any, context: Any) -> Any:  # noqa: N802 (the protocol's name)
        """Return the next trial; none after the search was aborted."""
        if self.failure:
            end = Trial(self.oracle.get_space(), status=TrialStatus.STOPPED)
            response = protos.get_service().CreateTrialResponse(trial=end.to_proto())
        else:
            response = super().CreateTrial(request, context)
        if response.trial.status == TrialStatus.to_proto(TrialStatus.STOPPED):
            self.told.add(request.tuner_id)
        return response

    def EndTrial(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Record the end of a trial; abort the search after too many consecutive failures."""
        try:
            return super().EndTrial(request, context)
        except RuntimeError as error:
            self.failure = str(error)
            return protos.get_service().EndTrialResponse()


@contextlib.contextmanager
def _serve(oracle: Any, trials: TrialGroup) -> Iterator[_Servicer]:
    """Serve the oracle at the chief's port, on all interfaces unless its host is loopback."""
    host, _, port = trials.address.rpartition(":")
    servicer = _Servicer(oracle)
    # One thread only, because the oracle's lock identifies threads by name.
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=1))
    protos.get_service_grpc().add_OracleServicer_to_server(servicer, server)
    try:
        server.add_insecure_port(f"{host if _is_loopback(host) else '[::]'}:{port}")
    except RuntimeError as error:
        raise ModelError(
            f"the Tuner's chief cannot listen on port {port} (from TF_CONFIG); free the port or "
            "use another"
        ) from error
    server.start()
    try:
        yield servicer
    finally:
        server.stop(grace=_POLL_SECONDS).wait()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(socket.gethostbyname(host)).is_loopback
    except OSError:  # the name does not resolve here, although it may on other machines
        return False


def _wait_for_others(servicer: _Servicer, trials: TrialGroup) -> None:
    """Wait until the trials of the other processes have ended.

    Raises:
        RuntimeError: too many consecutive trials failed.
    """
    while servicer.oracle.ongoing_trials and not servicer.failure:
        time.sleep(_POLL_SECONDS)
    end = time.monotonic() + _FAREWELL_SECONDS
    while len(servicer.told) < trials.count and time.monotonic() < end:
        time.sleep(_POLL_SECONDS / 10)
    if servicer.failure:
        raise RuntimeError(servicer.failure)
