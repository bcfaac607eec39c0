"""Model server in this process: the real REST and gRPC fronts with a keyword classifier."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import uvicorn

from components.infra_validation.model_servers import MODEL_NAME, RunningServer
from components.infra_validation.server_replay import text_of
from modules.contract import features
from serving.protocol.servable import RunRequest, VersionStatus
from serving.server.grpc_api.grpc_server import GrpcServer
from serving.server.monitoring_config import Monitoring
from serving.server.requests.service import InferenceService
from serving.server.rest.rest import RestApplication
from tests.serving.fake_models import FLOAT, STRING, FakeModels, FakeServable, signature

#: Scores of a text, in the order of the labels.
Answer = Callable[[str], Sequence[float]]
LABELS = ("negative", "positive")
_MAX_BYTES = 1_000_000


def keyword_scores(text: str, sharpness: float = 2.0) -> list[float]:
    """Return the scores of ``tests.components.exports.KeywordClassifier``."""
    words = text.split()
    hits = np.array([words.count("bad"), words.count("good")], float) * sharpness
    return (np.exp(hits) / np.exp(hits).sum()).tolist()


def classifier(answer: Answer = keyword_scores, *, twin: Answer | None = None) -> FakeServable:
    """Return a servable with this project's signatures; with ``twin``, also the bfloat16 one."""
    outputs = {features.SCORES: FLOAT, features.PREDICTED_LABEL: STRING, features.SCORE: FLOAT}

    def run(texts: Sequence[str], how: Answer) -> dict[str, np.ndarray]:
        scores = np.array([how(text) for text in texts], np.float32)
        labels = np.array([LABELS[best].encode() for best in scores.argmax(axis=1)], object)
        return {
            features.SCORES: scores,
            features.PREDICTED_LABEL: labels,
            features.SCORE: scores.max(axis=1),
        }

    def by_text(how: Answer) -> Callable[[RunRequest], dict[str, np.ndarray]]:
        return lambda request: run([t.decode() for t in request.inputs[features.TEXT]], how)

    def by_example(request: RunRequest) -> dict[str, np.ndarray]:
        found = request.inputs[features.EXAMPLES_INPUT]
        return run([text_of(example).decode() for example in found], answer)

    text = signature({features.TEXT: STRING}, outputs)
    examples = signature({features.EXAMPLES_INPUT: STRING}, outputs)
    functions = {
        features.SERVING_DEFAULT: (text, by_text(answer)),
        features.SERVING_EXAMPLES: (examples, by_example),
    }
    if twin:
        functions[f"{features.SERVING_DEFAULT}_bfloat16"] = (text, by_text(twin))
    return FakeServable(MODEL_NAME, 1, functions)


class Models(FakeModels):
    """One version, whose state a test may set."""

    state: VersionStatus | None = None

    def statuses(self, name: str, version: int | None = None) -> list[VersionStatus]:
        return [self.state] if self.state else super().statuses(name, version)


@contextlib.contextmanager
def served(*servables: FakeServable, state: VersionStatus | None = None) -> Iterator[RunningServer]:
    """Serve over both protocols on free loopback ports."""
    models = Models(*servables)
    models.state = state
    service = InferenceService(models)
    grpc_server = GrpcServer(service, "127.0.0.1", 0, 4, _MAX_BYTES)
    grpc_server.start()
    listening = socket.create_server(("127.0.0.1", 0))
    application = RestApplication(service, Monitoring())
    config = uvicorn.Config(application, log_level="error", lifespan="off")
    http_server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(http_server.serve([listening])))
    thread.start()
    try:
        yield RunningServer(
            rest=f"http://127.0.0.1:{listening.getsockname()[1]}",
            grpc=f"grpc://127.0.0.1:{grpc_server.port}",
            peak_memory_mb=lambda: 512.0,
        )
    finally:
        http_server.should_exit = True
        thread.join()
        listening.close()
        grpc_server.stop(0)
