"""gRPC services on a bounded pool of threads. The logic is in ``service``.

PredictionService and ModelService are those of TensorFlow Serving. grpc.health.v1 reports on the
server (""), on both services, and on every model by name.
"""

import concurrent.futures
import logging
import time
from collections.abc import Callable
from typing import Any

import grpc

from modules.contract.addresses import authority
from serving.protocol import protos
from serving.protocol.errors import Code, ServingError
from serving.protocol.http_server import listen
from serving.server import metrics
from serving.server.grpc_api.grpc_health import ModelHealth
from serving.server.requests import model_info, multi_inference
from serving.server.requests.service import InferenceService

_log = logging.getLogger(__name__)
_ENTRYPOINT = "GRPC"
_CODES: dict[Code, grpc.StatusCode] = {
    Code(status.value[0]): status for status in grpc.StatusCode if status.value[0] in set(Code)
}
#: Maximum number of waiting calls per thread; gRPC fails further calls with RESOURCE_EXHAUSTED.
_WAITING_PER_THREAD = 16
_NO_DEADLINE_SECONDS = 365 * 24 * 3600
_PUSHBACK = "grpc-retry-pushback-ms"

PREDICTION_SERVICE = "tensorflow.serving.PredictionService"
MODEL_SERVICE = "tensorflow.serving.ModelService"


class PredictionServicer(protos.prediction_service_pb2_grpc.PredictionServiceServicer):
    """PredictionService."""

    def __init__(self, service: InferenceService) -> None:
        self._service = service

    def Predict(self, request: Any, context: Any) -> Any:  # noqa: N802 (the protocol's name)
        """Run a signature on tensors."""
        return self._measured("Predict", self._service.predict, request, context)

    def Classify(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Return classes and scores for tf.Examples."""
        return self._measured("Classify", self._service.classify, request, context)

    def Regress(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Return values for tf.Examples."""
        return self._measured("Regress", self._service.regress, request, context)

    def MultiInference(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Run several signatures on the same tf.Examples."""

        def run() -> Any:
            calls = multi_inference.submit(self._service, request, _deadline(context))
            for call in calls:
                _cancel_with(context, call.future)
            return multi_inference.wait(calls)

        return _answer(context, run)

    def GetModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Return the signatures of a version."""
        return _answer(context, lambda: model_info.metadata(self._service, request))

    def _measured(self, api: str, submit: Callable[..., Any], request: Any, context: Any) -> Any:
        started = time.perf_counter_ns()
        name = request.model_spec.name

        def run() -> Any:
            call = submit(request, _deadline(context))
            _cancel_with(context, call.future)
            return call.wait()

        response = _answer(context, run, lambda: self._service.metric_label(name))
        micros = (time.perf_counter_ns() - started) / 1000
        metrics.REQUEST_LATENCY.observe(micros, name, api, _ENTRYPOINT)
        metrics.REQUEST_COUNT.increment(name, Code.OK.name)
        return response


class ModelServicer(protos.model_service_pb2_grpc.ModelServiceServicer):
    """ModelService.

    Args:
        service: service whose models are reported.
        allow_reload: whether callers may replace the served models.
    """

    def __init__(self, service: InferenceService, allow_reload: bool = False) -> None:
        self._models = service.models
        self._allow_reload = allow_reload

    def GetModelStatus(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Return the status of all versions of a model, or of one."""
        return _answer(context, lambda: model_info.status(self._models, request))

    def HandleReloadConfigRequest(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Replace the served models."""

        def run() -> Any:
            if not self._allow_reload:
                raise ServingError(
                    Code.PERMISSION_DENIED,
                    "HandleReloadConfigRequest is off; start the server with "
                    "--allow_reload_config=true to let every caller replace its models",
                )
            return model_info.reload_config(self._models, request, _deadline(context))

        return _answer(context, run)


def _deadline(context: Any) -> float | None:
    """Return the call's deadline; gRPC represents a missing one by centuries."""
    remaining = context.time_remaining()
    if remaining is None or remaining > _NO_DEADLINE_SECONDS:
        return None
    return time.monotonic() + remaining


def _cancel_with(context: Any, future: "concurrent.futures.Future[Any]") -> None:
    """Remove the call from the queue when the client disconnects."""
    if not context.add_callback(future.cancel):
        future.cancel()


def _answer(context: Any, run: Callable[[], Any], counted: Callable[[], str] | None = None) -> Any:
    """Return the result of ``run``, or abort the RPC with its error.

    Args:
        context: context of the RPC.
        run: function that computes the response.
        counted: function that returns the model's name as a metric label, to count a failure; None
            does not count failures.
    """
    try:
        return run()
    except ServingError as error:
        code, message, retry = error.code, error.grpc_message, error.retry_after_seconds
    except Exception:
        _log.exception("A request failed")
        code, message, retry = Code.INTERNAL, "Internal error", None
    if counted is not None:
        metrics.REQUEST_COUNT.increment(counted(), code.name)
    if code is Code.UNAVAILABLE and retry is not None:
        context.set_trailing_metadata(((_PUSHBACK, str(round(retry * 1000))),))
    return context.abort(_CODES[code], message)


class GrpcServer:
    """gRPC server that can drain.

    Args:
        service: service that runs inference.
        host: address to listen on.
        port: port to listen on; 0 selects a free port.
        threads: maximum number of concurrent calls.
        max_message_bytes: maximum size of a request.
        allow_reload: whether callers may replace the served models.

    Raises:
        OSError: the port is in use.

    Attributes:
        port: port that the server listens on.
    """

    def __init__(
        self,
        service: InferenceService,
        host: str,
        port: int,
        threads: int,
        max_message_bytes: int,
        allow_reload: bool = False,
    ) -> None:
        self._pool = concurrent.futures.ThreadPoolExecutor(threads, "grpc")
        self._server = grpc.server(
            self._pool,
            options=[
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", max_message_bytes),
                ("grpc.max_send_message_length", -1),
            ],
            maximum_concurrent_rpcs=threads * (1 + _WAITING_PER_THREAD),
        )
        self._health = ModelHealth(service.models, (PREDICTION_SERVICE, MODEL_SERVICE))
        protos.prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
            PredictionServicer(service), self._server
        )
        protos.model_service_pb2_grpc.add_ModelServiceServicer_to_server(
            ModelServicer(service, allow_reload), self._server
        )
        self._health.add_to(self._server)
        if port:  # gRPC would write to stderr about a port in use
            listen(host, port).close()
        try:
            self.port = self._server.add_insecure_port(authority(host, port))
        except RuntimeError as error:
            raise OSError(str(error)) from error

    def start(self) -> None:
        """Start to answer calls."""
        self._server.start()
        self._health.start()

    def drain(self) -> None:
        """Report NOT_SERVING in health checks."""
        self._health.drain()

    def stop(self, grace_seconds: float) -> None:
        """Refuse new calls, wait for running calls, and cancel the rest after ``grace_seconds``."""
        self._health.stop()
        self._server.stop(grace_seconds).wait()
        self._pool.shutdown(wait=False, cancel_futures=True)
