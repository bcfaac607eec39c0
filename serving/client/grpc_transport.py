"""Calls to a server over gRPC."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import numpy as np

from modules.contract.errors import UserError
from serving.client.address import Address
from serving.client.errors import (
    ClientError,
    ConnectionFailedError,
    RequestRefusedError,
    UnexpectedAnswerError,
)
from serving.client.retries import Deadline
from serving.client.signature_metadata import ModelMetadata, SignatureMetadata, make_signatures
from serving.client.transport import Target
from serving.protocol import protos, tensors
from serving.protocol.errors import Code
from serving.protocol.servable import State, VersionStatus

#: gRPC's default, 4 MiB, is too small for the response to a large request.
_MAX_MESSAGE_BYTES = 256 << 20
#: Parts of gRPC's messages for calls that did not reach a server, or whose response was lost.
_BROKEN = ("failed to connect", "connection reset", "socket closed", "broken pipe", "resolv")
#: Metadata in which a server asks for a pause (gRPC's A6 retry design), and that of HTTP proxies.
_PUSHBACK, _RETRY_AFTER = "grpc-retry-pushback-ms", "retry-after"
_STATES = {int(state): state for state in State}


class GrpcTransport:
    """``Transport`` over gRPC. It must be created in the event loop that uses it.

    Args:
        address: address of the server.
        target: model and version to call.
        headers: metadata to send with every call, with names in lower case.
        ca_file: PEM file of the authorities to trust; None trusts the default ones.

    Raises:
        UserError: ``ca_file`` cannot be read.
    """

    def __init__(
        self, address: Address, target: Target, headers: Mapping[str, str], ca_file: str | None
    ) -> None:
        self._server = str(address)
        self._target = target
        self._headers = tuple(headers.items())
        options = [
            ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
            ("grpc.enable_retries", 0),  # the client retries, within the deadline
            ("grpc.enable_http_proxy", 0 if address.is_loopback else 1),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 2000),
        ]
        if address.is_secure:
            credentials = grpc.ssl_channel_credentials(_read_ca_file(ca_file))
            self._channel = grpc.aio.secure_channel(address.authority, credentials, options)
        else:
            self._channel = grpc.aio.insecure_channel(address.authority, options)
        self._prediction = protos.prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._models = protos.model_service_pb2_grpc.ModelServiceStub(self._channel)

    async def predict_texts(
        self, texts: Sequence[bytes], input_name: str, signature: str, deadline: Deadline
    ) -> Mapping[str, Any]:
        """See ``Transport``."""
        request = self._predict_request(signature)
        tensor = request.inputs[input_name]
        tensor.dtype = tensors.STRING
        tensor.tensor_shape.dim.add(size=len(texts))
        tensor.string_val.extend(texts)
        return self._arrays(await self._send(self._prediction.Predict, request, deadline))

    async def predict_tensors(
        self,
        inputs: Mapping[str, np.ndarray],
        signature: str,
        metadata: SignatureMetadata,
        outputs: Sequence[str],
        deadline: Deadline,
    ) -> dict[str, np.ndarray]:
        """See ``Transport``."""
        request = self._predict_request(signature)
        request.output_filter.extend(outputs)
        for name, array in inputs.items():
            tensors.fill_proto(request.inputs[name], array, metadata.inputs[name].data_type)
        return self._arrays(await self._send(self._prediction.Predict, request, deadline))

    async def metadata(self, deadline: Deadline) -> ModelMetadata:
        """See ``Transport``."""
        request = protos.get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec=self._model_spec(), metadata_field=["signature_def"]
        )
        answer = await self._send(self._prediction.GetModelMetadata, request, deadline)
        signatures = protos.get_model_metadata_pb2.SignatureDefMap()
        if not answer.metadata["signature_def"].Unpack(signatures):
            raise UnexpectedAnswerError(f"{self._server} returned no signatures")
        return ModelMetadata(
            answer.model_spec.name,
            answer.model_spec.version.value,
            make_signatures(signatures.signature_def),
        )

    async def status(self, deadline: Deadline) -> list[VersionStatus]:
        """See ``Transport``. The label is ignored, as it is by the REST route."""
        request = protos.get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = self._target.model
        if self._target.version is not None:
            request.model_spec.version.value = self._target.version
        answer = await self._send(self._models.GetModelStatus, request, deadline)
        return [
            VersionStatus(
                version=status.version,
                state=_STATES.get(status.state, State.UNKNOWN),
                code=Code(status.status.error_code),
                message=status.status.error_message,
            )
            for status in answer.model_version_status
        ]

    async def close(self) -> None:
        """See ``Transport``."""
        await self._channel.close()

    def _model_spec(self) -> Any:
        spec = protos.model_pb2.ModelSpec(name=self._target.model)
        if self._target.version is not None:
            spec.version.value = self._target.version
        elif self._target.label is not None:
            spec.version_label = self._target.label
        return spec

    def _predict_request(self, signature: str) -> Any:
        request = protos.predict_pb2.PredictRequest(model_spec=self._model_spec())
        request.model_spec.signature_name = signature
        return request

    def _arrays(self, answer: Any) -> dict[str, np.ndarray]:
        try:
            return {name: tensors.to_array(proto) for name, proto in answer.outputs.items()}
        except tensors.TensorError as error:
            raise UnexpectedAnswerError(f"{self._server}: {error}") from error

    async def _send(self, method: Any, request: Any, deadline: Deadline) -> Any:
        try:
            return await method(request, timeout=deadline.remaining(), metadata=self._headers)
        except grpc.aio.AioRpcError as error:
            raise self._error(error, deadline) from error

    def _error(self, error: grpc.aio.AioRpcError, deadline: Deadline) -> ClientError:
        code, words = Code(error.code().value[0]), error.details() or error.code().name
        if code is Code.DEADLINE_EXCEEDED and deadline.remaining() == 0:
            return deadline.error(self._server)
        if code is Code.UNAVAILABLE and any(broken in words.lower() for broken in _BROKEN):
            return ConnectionFailedError(f"cannot reach {self._server}: {_reason(words)}")
        return RequestRefusedError(code, words, _pause(error.trailing_metadata()))


def _reason(words: str) -> str:
    """Extract the message of the operating system or TLS from gRPC's list of attempts."""
    if "CERTIFICATE_VERIFY_FAILED" in words:
        return "its certificate is not trusted; set ca_file to the authority that signed it"
    if "handshake failed" in words.lower():
        return "the TLS handshake failed"
    last = words.rpartition(": ")[2].rstrip(")]")
    before, _, errno = last.rpartition(" (")
    return before if errno.isdecimal() and before else last


def _pause(metadata: Any) -> float | None:
    """Return the pause that the server asks for, in seconds."""
    asked = {str(name).lower(): value for name, value in metadata or ()}
    with contextlib.suppress(KeyError, ValueError):
        return max(0.0, int(asked[_PUSHBACK]) / 1000)
    with contextlib.suppress(KeyError, ValueError):
        return max(0.0, float(asked[_RETRY_AFTER]))
    return None


def _read_ca_file(path: str | None) -> bytes | None:
    if path is None:
        return None
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"ca_file {path} cannot be read: {error.strerror}") from error
