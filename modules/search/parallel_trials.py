"""The trials of one search in several processes, on one machine or many, from ``TF_CONFIG``.

It is keras-tuner's own distribution (``keras_tuner/src/distribute``): the chief holds the oracle,
which proposes trials and takes their results, and serves it over gRPC; every process asks it for
the next trial. Three things are otherwise. keras-tuner's chief tries nothing itself and would leave
its machine idle; this one does, and its calls go the same way, because the oracle's lock is never
given back by a call that fails. Three failures in a row end the search in all processes, where
keras-tuner breaks the call of one worker and leaves the chief waiting. And a worker that has to
wait for others' results asks once a second, not without a pause.
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
#: How long the chief waits at the end for workers to ask for one more trial and be told of the end.
#: One that asks too late waits for a chief that is gone, keras-tuner's 60 minutes; where the chief
#: has ended, the platform ends the others.
_FAREWELL_SECONDS = 60.0


@dataclasses.dataclass(frozen=True)
class TrialGroup:
    """This process among those of a search.

    Attributes:
        index: its number, from 0. Process 0 is the chief: it holds the oracle and reports.
        count: all processes.
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
    """This process among those that ``TF_CONFIG`` names; None: it searches alone.

    Raises:
        UserError: ``TF_CONFIG`` describes no cluster of equal workers.
    """
    found = worker_place.place()
    return TrialGroup(*found, worker_place.chief_address()) if found else None


@contextlib.contextmanager
def shared_oracle(tuner: Any, trials: TrialGroup | None) -> Iterator[None]:
    """Let a tuner search together with the others of its group.

    Args:
        tuner: a ``keras_tuner.engine.base_tuner.BaseTuner`` with an oracle of its own. Within, its
            oracle is the chief's; after it, the chief's tuner has its own again, with all results.
        trials: the group, or None to change nothing.

    Raises:
        ModelError: the port of ``TF_CONFIG`` is taken, or the chief does not answer any more.
        RuntimeError: on the chief, as keras-tuner raises it: too many trials failed in a row.
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
            f"the Tuner's chief at {trials.address} (from TF_CONFIG) answers "
            f"{error.code().name}: {error.details()}; its log has the reason"
        ) from error
    finally:
        if trials.is_chief:
            tuner.oracle = oracle


class _Client(OracleClient):
    """keras-tuner's client, told its place instead of reading it from three variables."""

    def __init__(self, oracle: Any, address: str, tuner_id: str) -> None:
        self._oracle = oracle
        self.stub = protos.get_service_grpc().OracleStub(grpc.insecure_channel(address))
        self.tuner_id = tuner_id
        self.multi_worker = False
        self.should_report = True

    def create_trial(self, tuner_id: str) -> Any:
        """The next trial, or the sign that there is none; waits while it depends on others."""
        while (trial := super().create_trial(tuner_id)).status == TrialStatus.IDLE:
            time.sleep(_POLL_SECONDS)
        return trial

    def save(self, *_: Any) -> None:
        """Nothing: the oracle saves itself."""


class _Servicer(OracleServicer):
    """The oracle over gRPC.

    Attributes:
        failure: why the search is given up, or "".
        told: names of the processes that know that no trial is left.
    """

    def __init__(self, oracle: Any) -> None:
        super().__init__(oracle)
        self.failure = ""
        self.told: set[str] = set()

    def CreateTrial(self, request: Any, context: Any) -> Any:  # noqa: N802 (the protocol's name)
        """The next trial, none once the search is given up."""
        if self.failure:
            end = Trial(self.oracle.get_space(), status=TrialStatus.STOPPED)
            response = protos.get_service().CreateTrialResponse(trial=end.to_proto())
        else:
            response = super().CreateTrial(request, context)
        if response.trial.status == TrialStatus.to_proto(TrialStatus.STOPPED):
            self.told.add(request.tuner_id)
        return response

    def EndTrial(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Take a trial's end; too many failures in a row give the search up."""
        try:
            return super().EndTrial(request, context)
        except RuntimeError as error:
            self.failure = str(error)
            return protos.get_service().EndTrialResponse()


@contextlib.contextmanager
def _serve(oracle: Any, trials: TrialGroup) -> Iterator[_Servicer]:
    """The oracle at the chief's address; on all interfaces, unless that is one of loopback."""
    host, _, port = trials.address.rpartition(":")
    servicer = _Servicer(oracle)
    # One thread: the oracle's lock knows threads by their names.
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=1))
    protos.get_service_grpc().add_OracleServicer_to_server(servicer, server)
    try:
        server.add_insecure_port(f"{host if _is_loopback(host) else '[::]'}:{port}")
    except RuntimeError as error:
        raise ModelError(
            f"the Tuner's chief cannot listen on port {port} (from TF_CONFIG); is it taken?"
        ) from error
    server.start()
    try:
        yield servicer
    finally:
        server.stop(grace=_POLL_SECONDS).wait()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(socket.gethostbyname(host)).is_loopback
    except OSError:  # a name that this machine does not know, though others may
        return False


def _wait_for_others(servicer: _Servicer, trials: TrialGroup) -> None:
    """Return once the others' trials have ended.

    Raises:
        RuntimeError: too many trials failed in a row.
    """
    while servicer.oracle.ongoing_trials and not servicer.failure:
        time.sleep(_POLL_SECONDS)
    end = time.monotonic() + _FAREWELL_SECONDS
    while len(servicer.told) < trials.count and time.monotonic() < end:
        time.sleep(_POLL_SECONDS / 10)
    if servicer.failure:
        raise RuntimeError(servicer.failure)
