"""Calls to a server over REST."""

import datetime
import email.utils
import os
import socket
import ssl
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
import numpy as np

from modules.contract.errors import UserError
from serving.client import rest_json
from serving.client.address import Address
from serving.client.errors import (
    ConnectionFailedError,
    RequestRefusedError,
    UnexpectedAnswerError,
    code_of_http_status,
)
from serving.client.retries import Deadline
from serving.client.signature_metadata import ModelMetadata, SignatureMetadata
from serving.client.transport import Target
from serving.protocol.servable import VersionStatus


class RestTransport:
    """``Transport`` over HTTP/1.1.

    Args:
        address: address of the server.
        target: model and version to call.
        headers: headers to send with every call, such as ``authorization``.
        ca_file: PEM file of the authorities to trust; None trusts the default ones.
        connections: maximum number of open connections.

    Raises:
        UserError: ``ca_file`` cannot be read.
    """

    def __init__(
        self,
        address: Address,
        target: Target,
        headers: Mapping[str, str],
        ca_file: str | None,
        connections: int,
    ) -> None:
        self._server = str(address)
        self._target = target
        self._model = f"{address}/v1/models/{urllib.parse.quote(target.model, safe='')}"
        self._http = httpx.AsyncClient(
            headers={**headers, "accept": "application/json"},
            verify=_trusted(ca_file),
            trust_env=not address.is_loopback,
            limits=httpx.Limits(max_connections=connections),
            timeout=None,  # the caller enforces the deadline of the whole call
        )

    async def predict_texts(
        self, texts: Sequence[bytes], input_name: str, signature: str, deadline: Deadline
    ) -> Mapping[str, Any]:
        """See ``Transport``."""
        body = rest_json.write_texts(texts, input_name, signature)
        return rest_json.read_columns(await self._predict(body), self._server)

    async def predict_tensors(
        self,
        inputs: Mapping[str, np.ndarray],
        signature: str,
        metadata: SignatureMetadata,
        outputs: Sequence[str],
        deadline: Deadline,
    ) -> dict[str, np.ndarray]:
        """See ``Transport``."""
        answer = await self._predict(rest_json.write_tensors(inputs, signature))
        return rest_json.read_tensors(answer, metadata, outputs, self._server)

    async def metadata(self, deadline: Deadline) -> ModelMetadata:
        """See ``Transport``."""
        return rest_json.read_metadata(
            await self._send("GET", f"{self._route()}/metadata"), self._server
        )

    async def status(self, deadline: Deadline) -> list[VersionStatus]:
        """See ``Transport``."""
        version = self._target.version
        route = self._model if version is None else f"{self._model}/versions/{version}"
        return rest_json.read_status(await self._send("GET", route), self._server)

    async def close(self) -> None:
        """See ``Transport``."""
        await self._http.aclose()

    def _route(self) -> str:
        if self._target.version is not None:
            return f"{self._model}/versions/{self._target.version}"
        if self._target.label is not None:
            return f"{self._model}/labels/{urllib.parse.quote(self._target.label, safe='')}"
        return self._model

    async def _predict(self, body: bytes) -> bytes:
        return await self._send("POST", f"{self._route()}:predict", body)

    async def _send(self, method: str, url: str, body: bytes | None = None) -> bytes:
        headers = {"content-type": "application/json"} if body is not None else {}
        try:
            response = await self._http.request(method, url, content=body, headers=headers)
        except httpx.ConnectError as error:
            raise ConnectionFailedError(f"cannot reach {self._server}: {_cause(error)}") from error
        except httpx.RemoteProtocolError as error:
            if "disconnected" in str(error):
                raise ConnectionFailedError(f"{self._server} closed the connection") from error
            raise UnexpectedAnswerError(
                f"{self._server} does not speak HTTP; use grpc:// for a gRPC port"
            ) from error
        except httpx.DecodingError as error:
            raise UnexpectedAnswerError(f"{self._server}: {error}") from error
        except httpx.TransportError as error:
            raise ConnectionFailedError(
                f"the connection to {self._server} failed: {_cause(error)}"
            ) from error
        if response.status_code != 200:
            raise self._refusal(response)
        return response.content

    def _refusal(self, response: httpx.Response) -> RequestRefusedError:
        words = rest_json.read_error(response.content)
        return RequestRefusedError(
            code_of_http_status(response.status_code),
            words
            or f"{self._server} returned HTTP {response.status_code} {response.reason_phrase}",
            _retry_after(response.headers.get("retry-after", "")),
        )


def _trusted(ca_file: str | None) -> ssl.SSLContext | bool:
    if ca_file is None:
        return True
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # includes SSLError, for a file without a certificate
        reason = error.strerror or error
        raise UserError(f"ca_file {ca_file} cannot be read: {reason}") from error


def _cause(error: BaseException) -> str:
    """Return the operating system's message if there is one, else that of the error."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno:
            # asyncio overwrites strerror, except for name resolution and TLS.
            known = isinstance(cause, socket.gaierror | ssl.SSLError)
            return str(cause.strerror) if known else os.strerror(cause.errno)
        cause = cause.__cause__ or cause.__context__
    return str(error) or type(error).__name__


def _retry_after(value: str) -> float | None:
    """Return the seconds in a Retry-After header, which may hold a date (RFC 9110, 10.2.3)."""
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    now = datetime.datetime.now(moment.tzinfo)
    return max(0.0, (moment - now).total_seconds())
