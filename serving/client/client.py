"""Client for programs without an event loop."""

import asyncio
import concurrent.futures
import threading
from collections import deque
from collections.abc import Coroutine, Iterable, Iterator, Mapping, Sequence
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt

from modules.contract import features
from modules.contract.errors import UserError
from serving.client.answers import Prediction
from serving.client.async_client import AsyncClient
from serving.client.signature_metadata import ModelMetadata
from serving.protocol.servable import VersionStatus

_Answer = TypeVar("_Answer")

#: A stream reads this many texts or characters before it sends them, to sort them by length.
_WINDOW_TEXTS = 1024
_WINDOW_CHARACTERS = 4 << 20


class Client:
    """Blocking client for one model of TensorFlow Serving or ``bert serve``.

    ::

        with Client("http://127.0.0.1:8501", labels="serving_models/reviews") as client:
            for prediction in client.predict(["A good film.", "A bad hotel."]):
                print(prediction.label, prediction.score, prediction.scores)

    Calls run on one background thread, which the first call starts. Threads may share a client.
    Call ``close``, or use the client in a ``with`` statement.

    Args:
        url: ``http://HOST:8501``, ``https://HOST``, ``grpc://HOST:8500`` or ``grpcs://HOST``.
        **options: the keyword arguments of ``AsyncClient``.

    Raises:
        UserError: an argument is invalid.
    """

    def __init__(self, url: str, **options: Any) -> None:
        self._client = AsyncClient(url, **options)
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    def predict(
        self,
        texts: Sequence[str],
        *,
        signature: str = features.SERVING_DEFAULT,
        input_name: str = features.TEXT,
    ) -> list[Prediction]:
        """Classify texts. See ``AsyncClient.predict``.

        Raises:
            ClientError: the call failed.
            UserError: a text is not valid, or the client is closed.
        """
        return self._wait(self._predict(texts, signature, input_name))

    def predict_stream(
        self,
        texts: Iterable[str],
        *,
        signature: str = features.SERVING_DEFAULT,
        input_name: str = features.TEXT,
    ) -> Iterator[Prediction]:
        """Classify any number of texts in constant memory, in order.

        The texts are read in windows of 1,024, or fewer if they are long. The next window is sent
        while the caller consumes the predictions of the current one. The client's ``timeout``
        applies to each window::

            with open("reviews.txt") as texts:
                positive = sum(p.label == "positive" for p in client.predict_stream(texts))

        Args:
            texts: any iterable of texts.
            signature: signature with the outputs ``label``, ``score`` and ``scores``.
            input_name: name of the signature's input for texts.

        Yields:
            One prediction for each text, in the order of ``texts``.

        Raises:
            ClientError: a window failed; the predictions of all earlier windows were yielded.
            UserError: a text is not valid, or the client is closed.
        """
        pending: deque[concurrent.futures.Future[list[Prediction]]] = deque()
        try:
            for window in _windows(texts):
                pending.append(self._submit(self._predict(window, signature, input_name)))
                if len(pending) > 1:
                    yield from _result(pending.popleft())
            while pending:
                yield from _result(pending.popleft())
        finally:
            for future in pending:
                future.cancel()

    def predict_tensors(
        self,
        inputs: Mapping[str, npt.ArrayLike],
        *,
        signature: str = features.SERVING_DEFAULT,
        outputs: Sequence[str] = (),
    ) -> dict[str, np.ndarray]:
        """Run any signature of any model. See ``AsyncClient.predict_tensors``.

        Raises:
            ClientError: the call failed, or the model does not have the signature.
            UserError: an input or output does not match the signature, or the client is closed.
        """
        return self._wait(
            self._client.predict_tensors(inputs, signature=signature, outputs=outputs)
        )

    def metadata(self) -> ModelMetadata:
        """Request the signatures of the version that serves the calls, bypassing the cache.

        Raises:
            ClientError: the call failed.
            UserError: the client is closed.
        """
        return self._wait(self._client.metadata())

    def status(self) -> list[VersionStatus]:
        """Return the states of the model's versions, newest first. See ``AsyncClient.status``.

        Raises:
            ClientError: the call failed.
            UserError: the client is closed.
        """
        return self._wait(self._client.status())

    def close(self) -> None:
        """Close the connections and stop the background thread. May be called more than once."""
        with self._lock:
            self._closed = True
            loop, thread, self._loop = self._loop, self._thread, None
        if loop is None or thread is None:
            return
        asyncio.run_coroutine_threadsafe(self._client.close(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _predict(
        self, texts: Sequence[str], signature: str, input_name: str
    ) -> Coroutine[Any, Any, list[Prediction]]:
        return self._client.predict(texts, signature=signature, input_name=input_name)

    def _wait(self, call: Coroutine[Any, Any, _Answer]) -> _Answer:
        future = self._submit(call)
        try:
            return _result(future)
        except BaseException:
            future.cancel()  # Ctrl-C cancels the requests
            raise

    def _submit(self, call: Coroutine[Any, Any, _Answer]) -> concurrent.futures.Future[_Answer]:
        with self._lock:
            if self._closed:
                call.close()
                raise UserError("the client is closed; create a new one")
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=_run, args=[self._loop], name="serving-client", daemon=True
                )
                self._thread.start()
            return asyncio.run_coroutine_threadsafe(call, self._loop)


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.run_until_complete(_cancel_all(loop))
        loop.close()


async def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    tasks = [task for task in asyncio.all_tasks(loop) if task is not asyncio.current_task()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _result(future: concurrent.futures.Future[_Answer]) -> _Answer:
    """Wait for a call; closing the client from another thread cancels it."""
    try:
        return future.result()
    except concurrent.futures.CancelledError:
        raise UserError("the client was closed during the call; create a new one") from None


def _windows(texts: Iterable[str]) -> Iterator[list[str]]:
    """Split a stream into lists of bounded length and total size."""
    window: list[str] = []
    characters = 0
    for text in texts:
        window.append(text)
        characters += len(text)
        if len(window) == _WINDOW_TEXTS or characters >= _WINDOW_CHARACTERS:
            yield window
            window, characters = [], 0
    if window:
        yield window
