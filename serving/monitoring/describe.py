"""Asks a model server what its model sees in texts."""

from collections.abc import Sequence

import numpy as np

from modules.contract import features
from modules.contract.errors import UserError
from modules.contract.text_identity import text_identity
from serving.client import Client
from serving.monitoring.descriptions import Array, Descriptions, concatenate, hashed_shares

#: Texts in one call of the monitoring signature, and characters at most beside the first.
_BATCH_TEXTS = 64
_BATCH_CHARACTERS = 200_000


def describe(texts: Sequence[str], client: Client, labels: Sequence[str]) -> Descriptions:
    """Describe texts by the model that ``client`` is about.

    Args:
        texts: one or more.
        client: of one version, so that all texts are seen by the same.
        labels: the model's, in id order.

    Raises:
        UserError: the model has no such signature: an older version of this project exported it.
        ClientError: the server did not answer, or refuses.
    """
    if features.SERVING_MONITORING not in client.metadata().signatures:
        raise UserError(
            "the served model was exported without the signature "
            f"{features.SERVING_MONITORING}, which drift is told by; `bert run` trains one with it"
        )
    # Texts of like length share a batch: little is computed for nothing.
    order = sorted(range(len(texts)), key=lambda position: len(texts[position]))
    parts = []
    for batch in _batches([texts[position] for position in order]):
        parts.append(_describe_batch(batch, client, labels))
    return concatenate(parts).take(np.argsort(order))


def _batches(texts: Sequence[str]) -> list[list[str]]:
    batches: list[list[str]] = [[]]
    characters = 0
    for text in texts:
        full = len(batches[-1]) == _BATCH_TEXTS or characters + len(text) > _BATCH_CHARACTERS
        if batches[-1] and full:
            batches.append([])
            characters = 0
        batches[-1].append(text)
        characters += len(text)
    return batches


def _describe_batch(texts: list[str], client: Client, labels: Sequence[str]) -> Descriptions:
    seen = client.predict_tensors({features.TEXT: texts}, signature=features.SERVING_MONITORING)
    scores = np.array([answer.raw_scores for answer in client.predict(texts)], np.float32)
    return Descriptions(
        identities=np.array([text_identity(text).hex() for text in texts], "S64"),
        characters=np.array([len(text) for text in texts], np.int32),
        tokens=np.asarray(seen[features.TOKENS], np.int32),
        unknown_tokens=np.asarray(seen[features.UNKNOWN_TOKENS], np.int32),
        words=hashed_shares(texts),
        embeddings=np.asarray(seen[features.EMBEDDING], np.float32),
        scores=scores,
        answers=_answers(scores, labels),
    )


def _answers(scores: Array, labels: Sequence[str]) -> Array:
    if scores.shape[1] != len(labels):
        raise UserError(
            f"the server's model tells {scores.shape[1]} labels apart and the pushed version of "
            f"that number {len(labels)}; gateway.server_url must serve pusher.base_directory"
        )
    return np.argmax(scores, axis=1).astype(np.int32)
