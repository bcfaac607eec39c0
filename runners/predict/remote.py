"""Classifies texts with a model server, over REST or gRPC."""

import contextlib
from collections import deque
from collections.abc import Iterable, Iterator

from modules.contract.errors import UserError
from modules.contract.pushed_model import read_labels, version_folder
from runners.predict.local import TextPrediction
from serving.client import Client, ClientError, ConnectionFailedError

#: Of a window of texts in a stream; ample, for a slow server is still one that answers.
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
    """Classify texts as they are read; the answers come in their order.

    The server does not tell the names of the scores. They are read from the push directory, if the
    version that answers stands there; else ``scores`` is a list in label id order.

    Args:
        texts: any number.
        url: of the server.
        model: its name there.
        version: its number; None is the newest.
        label: a version label; None for none.
        push_directory: the config's.

    Raises:
        UserError: the server cannot be asked, or refuses.
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
        raise UserError(f"{error.message}; `bert serve` starts a server") from error
    except ClientError as error:
        raise UserError(f"the server refuses: {error}") from error
