"""The client for programs without an event loop."""

import asyncio
import concurrent.futures
import itertools
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

#: Texts, and characters, that a stream reads before it sends them: enough to sort by length.
_WINDOW_TEXTS = 1024
_WINDOW_CHARACTERS = 4 << 20


class Client:
    """``AsyncClient`` for everybody else: same arguments, same methods, and they wait.

    Calls run on one background thread, started by the first. A client may be shared by threads.
    Close it, or use it in a ``with`` statement.
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
        """Classify texts; the answers are in their order. See ``AsyncClient.predict``."""
        return self._wait(self._predict(texts, signature, input_name))

    def predict_stream(
        self,
        texts: Iterable[str],
        *,
        signature: str = features.SERVING_DEFAULT,
        input_name: str = features.TEXT,
    ) -> Iterator[Prediction]:
        """Classify any number of texts in constant memory; the answers come in their order.

        Texts are read in windows of 1,024, fewer where they are long. While the answers of one
        window are taken, the next is under way. The ``timeout`` is each window's.

        Raises:
            ClientError: a window failed; all answers before it have come.
        """
        under_way: deque[concurrent.futures.Future[list[Prediction]]] = deque()
        try:
            for window in _windows(texts):
                under_way.append(self._submit(self._predict(window, signature, input_name)))
                if len(under_way) > 1:
                    yield from under_way.popleft().result()
            while under_way:
                yield from under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()

    def predict_tensors(
        self,
        inputs: Mapping[str, npt.ArrayLike],
        *,
        signature: str = features.SERVING_DEFAULT,
        outputs: Sequence[str] = (),
    ) -> dict[str, np.ndarray]:
        """Run any signature of any model. See ``AsyncClient.predict_tensors``."""
        return self._wait(
            self._client.predict_tensors(inputs, signature=signature, outputs=outputs)
        )

    def metadata(self) -> ModelMetadata:
        """The signatures of the version that answers. Always asks."""
        return self._wait(self._client.metadata())

    def status(self) -> list[VersionStatus]:
        """Versions with their states, newest first: all, or the client's ``version`` alone."""
        return self._wait(self._client.status())

    def close(self) -> None:
        """Close the connections and end the background thread. May be called again."""
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
            return future.result()
        except BaseException:
            future.cancel()  # Ctrl-C gives the requests up
            raise

    def _submit(self, call: Coroutine[Any, Any, _Answer]) -> concurrent.futures.Future[_Answer]:
        with self._lock:
            if self._closed:
                call.close()
                raise UserError("the client is closed; make another")
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


def _windows(texts: Iterable[str]) -> Iterator[list[str]]:
    """Cut a stream into lists, each bounded in number and in characters."""
    window: list[str] = []
    characters = 0
    for text in itertools.chain(texts):
        window.append(text)
        characters += len(text)
        if len(window) == _WINDOW_TEXTS or characters >= _WINDOW_CHARACTERS:
            yield window
            window, characters = [], 0
    if window:
        yield window
