"""Describes texts with the model on a model server."""

from collections.abc import Sequence

import numpy as np

from modules.contract import features
from modules.contract.errors import UserError
from modules.contract.text_identity import text_identity
from serving.client import Client
from serving.monitoring.descriptions import Array, Descriptions, concatenate, hashed_shares

#: Maximum texts in one call of the monitoring signature, and characters unless it is one text.
_BATCH_TEXTS = 64
_BATCH_CHARACTERS = 200_000


def describe(texts: Sequence[str], client: Client, labels: Sequence[str]) -> Descriptions:
    """Describe texts with the model version that ``client`` calls.

    Args:
        texts: one or more.
        client: bound to one version, so that the same model describes all texts.
        labels: the model's labels, in id order.

    Raises:
        UserError: the model lacks the signature, because an older version of this project
            exported it; or it has other labels.
        ClientError: the server did not answer, or refused.
    """
    if features.SERVING_MONITORING not in client.metadata().signatures:
        raise UserError(
            "the served model was exported without the signature "
            f"{features.SERVING_MONITORING}, which drift checks need; train a new one with "
            "`bert run`"
        )
    # Texts of similar length share a batch, so that little computation is wasted.
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
            f"the served model has {scores.shape[1]} labels, but the pushed version of that number "
            f"has {len(labels)}; set gateway.server_url to a server of pusher.base_directory"
        )
    return np.argmax(scores, axis=1).astype(np.int32)
