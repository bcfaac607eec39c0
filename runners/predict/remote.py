"""Predictions from a model server, over REST or gRPC."""

import contextlib
from collections import deque
from collections.abc import Iterable, Iterator

from modules.contract.errors import UserError
from modules.contract.pushed_model import read_labels, version_folder
from runners.predict.local import TextPrediction
from serving.client import Client, ClientError, ConnectionFailedError

#: For a window of texts in a stream; long, because a slow server is not a failed one.
_TIMEOUT_SECONDS = 600.0


def predict_remotely(
    texts: Iterable[str],
    url: str,
    *,
    model: str,
    version: int | None,
    label: str | None,
    push_directory: str,
) -> Iterator[TextPrediction]:
    """Classify texts as they are read; yield the predictions in the order of the texts.

    The server does not name the labels of the scores. They are read from the push directory if it
    holds the version that answers; otherwise ``scores`` is a list in label id order.

    Args:
        texts: any number of texts.
        url: URL of the server.
        model: name of the servable on the server.
        version: version number; None is the newest.
        label: version label, or None.
        push_directory: the config's push directory.

    Raises:
        UserError: the server cannot be reached, or rejects a request.
    """
    with _user_errors():
        with Client(url, model=model, version=version, label=label) as client:
            answering = client.metadata().version
        labels = None
        with contextlib.suppress(UserError, OSError):
            labels = read_labels(version_folder(push_directory, answering))
        target = {"model": model, "version": version, "label": label}
        with Client(url, labels=labels, timeout=_TIMEOUT_SECONDS, **target) as client:
            asked: deque[str] = deque()
            for answer in client.predict_stream(_kept(texts, asked)):
                scores = answer.scores or list(answer.raw_scores)
                yield TextPrediction(asked.popleft(), answer.label, answer.score, scores)


def _kept(texts: Iterable[str], asked: deque[str]) -> Iterator[str]:
    for text in texts:
        asked.append(text)
        yield text


@contextlib.contextmanager
def _user_errors() -> Iterator[None]:
    try:
        yield
    except ConnectionFailedError as error:
        raise UserError(f"{error.message}; start a server with `bert serve`") from error
    except ClientError as error:
        raise UserError(f"the server rejected the request: {error}") from error
