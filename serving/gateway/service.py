"""Answers texts: asks a version, records the answers, mirrors them. Knows nothing of HTTP."""

import dataclasses
import time
import uuid
from collections.abc import Sequence

from modules.contract.text_identity import text_identity
from serving.client import Prediction as Answer
from serving.gateway.errors import from_model_server
from serving.gateway.metrics import GatewayMetrics
from serving.gateway.mirror import Mirror, Mirrored
from serving.gateway.model_calls import CircuitOpenError
from serving.gateway.recorder import Recorder
from serving.gateway.settings import GatewaySettings
from serving.gateway.version_routing import Attempt, VersionRouter
from serving.protocol.errors import Code
from serving.records.tables import CANARY, OK, PredictionRow


@dataclasses.dataclass(frozen=True)
class Caller:
    """Who asks.

    Attributes:
        key_id: ``ApiKey.id`` or ``ANONYMOUS``.
        sticky_key: the same one gets the same version throughout a stage.
    """

    key_id: str
    sticky_key: str


@dataclasses.dataclass(frozen=True)
class Request:
    """Texts of one request, or one part of a stream.

    Attributes:
        caller: who asks.
        id: of the request.
        texts: to classify.
        first_position: of the first text in the whole request.
    """

    caller: Caller
    id: str
    texts: Sequence[str]
    first_position: int = 0

    def prediction_id(self, index: int) -> str:
        """Of the text at ``index``."""
        return f"{self.id}-{self.first_position + index}"


@dataclasses.dataclass(frozen=True)
class Answers:
    """What was answered.

    Attributes:
        version: that answered.
        role: ``STABLE`` or ``CANARY``.
        predictions: in the order of the texts.
        stored: whether feedback will be able to name the predictions.
    """

    version: int
    role: str
    predictions: Sequence[Answer]
    stored: bool


def new_request_id() -> str:
    """32 hexadecimal digits that nobody can guess."""
    return uuid.uuid4().hex


class PredictionService:
    """Answers texts.

    Args:
        router: finds the version.
        recorder: keeps the answers.
        mirror: shows them to a candidate.
        metrics: count the texts.
        settings: of the gateway.
    """

    def __init__(
        self,
        router: VersionRouter,
        recorder: Recorder,
        mirror: Mirror,
        metrics: GatewayMetrics,
        settings: GatewaySettings,
    ) -> None:
        self._router = router
        self._recorder = recorder
        self._mirror = mirror
        self._metrics = metrics
        self._settings = settings

    async def answer(self, request: Request) -> Answers:
        """Answer the texts of a request.

        Raises:
            ClientError: no version could be named.
            GatewayError: the version did not answer.
        """
        created = time.time()
        routed = await self._router.route(request.texts, request.caller.sticky_key)
        records = [
            self._record(request, index, created, attempt, is_last=attempt is routed.attempts[-1])
            for attempt in routed.attempts
            if not isinstance(attempt.error, CircuitOpenError)  # nothing was sent
            for index in range(len(request.texts))
        ]
        stored = self._recorder.record(records) if records else False
        last = routed.attempts[-1]
        if last.error is not None:
            raise from_model_server(last.error) from last.error
        self._metrics.texts.labels(str(last.version), last.role).inc(len(request.texts))
        if routed.shadow is not None and stored:
            ids = [request.prediction_id(index) for index in range(len(request.texts))]
            self._mirror.send(Mirrored(routed.shadow, ids, request.texts))
        return Answers(last.version, last.role, last.predictions, stored)

    def _record(
        self, request: Request, index: int, created: float, attempt: Attempt, *, is_last: bool
    ) -> PredictionRow:
        text = request.texts[index]
        answer = attempt.predictions[index] if attempt.predictions else None
        # A canary's failure stands beside the stable version's answer, as if asked by itself.
        request_id = request.id if is_last else f"{request.id}-{CANARY}"
        position = request.first_position + index
        return PredictionRow(
            id=f"{request_id}-{position}",
            request_id=request_id,
            position=position,
            created=created,
            key_id=request.caller.key_id,
            model_version=attempt.version,
            role=attempt.role,
            status=OK if attempt.error is None else Code(attempt.error.code).name,
            latency_ms=attempt.seconds * 1000,
            label=answer.label if answer else None,
            score=answer.score if answer else None,
            scores=dict(answer.scores) if answer else None,
            text=text if self._settings.store_texts else None,
            text_identity=text_identity(text).hex(),
            characters=len(text),
        )
