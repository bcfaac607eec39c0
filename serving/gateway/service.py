"""Predictions without HTTP: asks a version, records the predictions, mirrors the texts."""

import dataclasses
import time
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
    """The caller of a request.

    Attributes:
        key_id: ``ApiKeyRow.id`` or ``ANONYMOUS``.
        sticky_key: pins the caller to one version throughout a stage.
    """

    key_id: str
    sticky_key: str


@dataclasses.dataclass(frozen=True)
class Request:
    """Texts of one request, or of one part of a stream.

    Attributes:
        caller: who sent them.
        id: id of the request.
        texts: to classify.
        first_position: position of the first text in the whole request.
    """

    caller: Caller
    id: str
    texts: Sequence[str]
    first_position: int = 0

    def prediction_id(self, index: int) -> str:
        """Return the prediction id of the text at ``index``."""
        return f"{self.id}-{self.first_position + index}"


@dataclasses.dataclass(frozen=True)
class Answers:
    """The predictions for a request.

    Attributes:
        version: the version that answered.
        role: ``STABLE`` or ``CANARY``.
        predictions: in the order of the texts.
        stored: whether feedback will be able to refer to the predictions.
    """

    version: int
    role: str
    predictions: Sequence[Answer]
    stored: bool


class PredictionService:
    """Classifies texts.

    Args:
        router: chooses the version.
        recorder: stores the predictions.
        mirror: mirrors the texts to a candidate.
        metrics: counts the texts.
        settings: the gateway's settings.
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
        """Classify the texts of a request.

        Raises:
            ClientError: no version is known.
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
        # A canary's failure is recorded next to the stable version's answer, as its own request.
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
