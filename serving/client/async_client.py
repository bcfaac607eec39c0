"""Client for programs that run an event loop; ``Client`` is the blocking equivalent."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt

from modules.contract import features
from modules.contract.errors import UserError
from serving.client.address import parse_address
from serving.client.answers import Prediction, make_predictions, read_labels
from serving.client.errors import ClientError
from serving.client.retries import Deadline, with_retries
from serving.client.signature_metadata import ModelMetadata, SignatureMetadata
from serving.client.splitting import Part, split_texts
from serving.client.transport import Target, Transport
from serving.protocol.servable import VersionStatus

_Answer = TypeVar("_Answer")


class AsyncClient:
    """Asynchronous client for one model of TensorFlow Serving or ``bert serve``.

    ::

        async with AsyncClient("grpc://127.0.0.1:8500", labels=["bad", "good"]) as client:
            [prediction] = await client.predict(["A good film."])
            print(prediction.label, prediction.scores["good"])

    The connection is opened by the first call and belongs to the event loop of that call. Call
    ``close``, or use the client in an ``async with`` statement.

    Args:
        url: ``http://HOST:8501``, ``https://HOST``, ``grpc://HOST:8500`` or ``grpcs://HOST``. The
            port is optional.
        model: name of the model.
        version: version number; None selects the newest.
        label: version label, such as ``stable``; None selects by ``version``. Give either
            ``version`` or ``label``, not both.
        labels: class names for ``Prediction.scores``: a sequence in label id order, or the folder
            that the pipeline pushed to. None leaves ``Prediction.scores`` empty.
        timeout: time limit of a call in seconds, including retries; None for no limit.
        retries: number of further attempts after a call that failed with ``UNAVAILABLE``.
        headers: headers to send with every call, such as ``authorization``; sent as metadata over
            gRPC.
        ca_file: PEM file of the certificate authorities to trust with https and grpcs; None trusts
            the default authorities. The first call reads it, and raises ``UserError`` if it cannot.
        max_request_texts: maximum number of texts in a request; ``predict`` splits longer lists.
        max_request_bytes: maximum size of the texts in a request, in bytes of UTF-8; a larger text
            is sent in a request of its own.
        concurrency: maximum number of concurrent requests of a ``predict`` call.

    Raises:
        UserError: an argument is invalid.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str = "default",
        version: int | None = None,
        label: str | None = None,
        labels: Sequence[str] | os.PathLike[str] | None = None,
        timeout: float | None = 60.0,
        retries: int = 3,
        headers: Mapping[str, str] | None = None,
        ca_file: str | None = None,
        max_request_texts: int = 32,
        max_request_bytes: int = 1 << 20,
        concurrency: int = 4,
    ) -> None:
        self._address = parse_address(url)
        self._server = str(self._address)
        self._target = _check_target(model, version, label)
        self._labels = _read_names(labels)
        at_least = {"retries": (retries, 0), "max_request_texts": (max_request_texts, 1)}
        at_least |= {"max_request_bytes": (max_request_bytes, 1), "concurrency": (concurrency, 1)}
        for name, (value, least) in at_least.items():
            if value < least:
                raise UserError(f"{name} must be at least {least}, not {value}")
        if timeout is not None and timeout <= 0:
            raise UserError(f"timeout must be above 0 seconds, not {timeout}")
        self._timeout = timeout
        self._retries = retries
        self._headers = {name.lower(): value for name, value in (headers or {}).items()}
        self._ca_file = ca_file
        self._max_texts = max_request_texts
        self._max_bytes = max_request_bytes
        self._concurrency = concurrency
        self._opened: Transport | None = None
        self._known: ModelMetadata | None = None

    async def predict(
        self,
        texts: Sequence[str],
        *,
        signature: str = features.SERVING_DEFAULT,
        input_name: str = features.TEXT,
    ) -> list[Prediction]:
        """Classify texts.

        The texts are sorted by length and sent in several concurrent requests. If a request fails
        after its retries, the others are cancelled and the call fails.

        Args:
            texts: any number of texts.
            signature: signature with the outputs ``label``, ``score`` and ``scores``.
            input_name: name of the signature's input for texts.

        Returns:
            One prediction for each text, in the order of ``texts``.

        Raises:
            ClientError: the call failed.
            UserError: ``texts`` is a single str, or a text is not a str or cannot be encoded as
                UTF-8, or the client was closed during the call.
        """
        if isinstance(texts, str):
            raise UserError("predict takes a list of texts, not a single text")
        encoded = [_encode(text) for text in texts]
        deadline = Deadline(self._timeout)
        predictions: list[Prediction | None] = [None] * len(encoded)
        gate = asyncio.Semaphore(self._concurrency)

        async def send(part: Part) -> None:
            async with gate:
                outputs = await self._call(
                    lambda transport: transport.predict_texts(
                        part.texts, input_name, signature, deadline
                    ),
                    deadline,
                )
            answers = make_predictions(outputs, len(part.texts), self._labels, self._server)
            for position, prediction in zip(part.positions, answers, strict=True):
                predictions[position] = prediction

        parts = split_texts(encoded, max_texts=self._max_texts, max_bytes=self._max_bytes)
        try:
            async with asyncio.TaskGroup() as group:
                for part in parts:
                    group.create_task(send(part))
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        answered = [prediction for prediction in predictions if prediction is not None]
        if len(answered) < len(predictions):
            # Closing a gRPC channel cancels its calls, and a TaskGroup ignores cancelled tasks.
            raise UserError("the client was closed during the call; create a new one")
        return answered

    async def predict_tensors(
        self,
        inputs: Mapping[str, npt.ArrayLike],
        *,
        signature: str = features.SERVING_DEFAULT,
        outputs: Sequence[str] = (),
    ) -> dict[str, np.ndarray]:
        """Run any signature of any model.

        Inputs are converted to the types in the model's metadata, which is requested once and
        cached. The outputs are the same over REST and gRPC::

            outputs = await client.predict_tensors({"text": ["A good film."]}, outputs=["scores"])
            outputs["scores"]  # float32 [1, classes]

        Args:
            inputs: arrays or nested lists by input name; str and bytes are accepted for strings.
            signature: key of the signature.
            outputs: names of the outputs to return; empty returns all.

        Returns:
            Arrays by output name, with the shapes and dtypes of the signature. Strings are object
            arrays of bytes.

        Raises:
            ClientError: the call failed, or the model does not have the signature.
            UserError: the input names are not those of the signature, an input cannot be converted,
                or an output is unknown.
        """
        deadline = Deadline(self._timeout)
        known = (await self._metadata(deadline)).signature(signature, self._server)
        unknown = [name for name in outputs if name not in known.outputs]
        if unknown:
            legal = ", ".join(sorted(known.outputs))
            raise UserError(f"signature {signature} has no output {unknown[0]!r}; it has {legal}")
        arrays = _convert(inputs, known, signature)
        try:
            return await self._call(
                lambda transport: transport.predict_tensors(
                    arrays, signature, known, outputs, deadline
                ),
                deadline,
            )
        except ClientError:
            self._known = None  # A new version may have other signatures.
            raise

    async def metadata(self) -> ModelMetadata:
        """Request the signatures of the version that serves the calls, bypassing the cache.

        Raises:
            ClientError: the call failed.
        """
        self._known = None
        return await self._metadata(Deadline(self._timeout))

    async def status(self) -> list[VersionStatus]:
        """Return the states of the model's versions, newest first.

        The list holds all versions that the server reports, or only the client's ``version`` if it
        has one. The client's ``label`` is ignored.

        Raises:
            ClientError: the call failed.
        """
        deadline = Deadline(self._timeout)
        return await self._call(lambda transport: transport.status(deadline), deadline)

    async def close(self) -> None:
        """Close the connections. A later call opens new ones."""
        opened, self._opened = self._opened, None
        if opened is not None:
            await opened.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def _metadata(self, deadline: Deadline) -> ModelMetadata:
        if self._known is None:
            self._known = await self._call(lambda transport: transport.metadata(deadline), deadline)
        return self._known

    async def _call(
        self, ask: Callable[[Transport], Awaitable[_Answer]], deadline: Deadline
    ) -> _Answer:
        return await with_retries(
            lambda: ask(self._transport()),
            retries=self._retries,
            deadline=deadline,
            url=self._server,
        )

    def _transport(self) -> Transport:
        """Return the connection, which must be opened in the event loop that uses it."""
        if self._opened is None:
            arguments = (self._address, self._target, self._headers, self._ca_file)
            if self._address.is_grpc:
                from serving.client.grpc_transport import GrpcTransport

                self._opened = GrpcTransport(*arguments)
            else:
                from serving.client.rest_transport import RestTransport

                self._opened = RestTransport(*arguments, connections=self._concurrency)
        return self._opened


def _check_target(model: str, version: int | None, label: str | None) -> Target:
    if not model:
        raise UserError("model must not be empty; TensorFlow Serving's default is 'default'")
    if version is not None and label is not None:
        raise UserError(f"give a version or a label, not both: {version} and {label!r}")
    if version is not None and version < 0:
        raise UserError(f"version must not be negative, not {version}")
    return Target(model, version, label)


def _read_names(labels: Sequence[str] | os.PathLike[str] | None) -> Sequence[str]:
    if isinstance(labels, str | os.PathLike):
        return read_labels(labels)
    return tuple(labels or ())


def _encode(text: str) -> bytes:
    if not isinstance(text, str):
        raise UserError(f"a text must be a str, not {type(text).__name__}")
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UserError(
            f"a text contains half a character (a lone surrogate) at position {error.start}"
        ) from error


def _convert(
    inputs: Mapping[str, npt.ArrayLike], known: SignatureMetadata, signature: str
) -> dict[str, np.ndarray]:
    """Convert the inputs to arrays of the signature's types."""
    if set(inputs) != set(known.inputs):
        legal, got = ", ".join(sorted(known.inputs)), ", ".join(sorted(inputs)) or "nothing"
        raise UserError(f"signature {signature} takes {legal}, not {got}")
    arrays = {}
    for name, value in inputs.items():
        dtype = known.inputs[name].numpy_dtype
        try:
            array = np.asarray(value, dtype=dtype)
        except (ValueError, TypeError) as error:
            raise UserError(f"input {name} cannot be converted to {dtype}: {error}") from error
        if known.inputs[name].dtype == "DT_STRING":
            array = np.vectorize(_as_bytes, otypes=[object])(array) if array.size else array
        arrays[name] = array
    return arrays


def _as_bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else _encode(value)
