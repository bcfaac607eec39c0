"""Synthetic descriptions of texts, and a client that describes texts by their words."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from serving.client import Prediction
from serving.monitoring.descriptions import Descriptions, hashed_shares

WIDTH = 8
LABELS = ("neg", "pos")


def describe_made(count: int, seed: int, **changes: Any) -> Descriptions:
    """Return descriptions of undrifted texts; ``changes`` replace columns."""
    generator = np.random.default_rng(seed)
    sure = generator.beta(5, 2, count).astype(np.float32) / 2 + 0.5
    answers = generator.integers(0, 2, count).astype(np.int32)
    scores = np.stack([1 - sure, sure], axis=1)
    scores[answers == 0] = scores[answers == 0, ::-1]
    words = [f"word{number}" for number in range(200)]
    texts = [" ".join(generator.choice(words, 12)) for _ in range(count)]
    columns = {
        "identities": np.array([f"{seed}-{row}" for row in range(count)], "S64"),
        "characters": generator.lognormal(5, 1, count).astype(np.int32),
        "tokens": generator.integers(10, 100, count).astype(np.int32),
        "unknown_tokens": generator.binomial(2, 0.05, count).astype(np.int32),
        "words": hashed_shares(texts),
        "embeddings": generator.normal(0, 1, (count, WIDTH)).astype(np.float32),
        "scores": scores,
        "answers": answers,
    }
    return Descriptions.from_columns(columns | changes)


class WordClient:
    """A fake ``Client``: predicts "pos" for texts with "good", and records the texts."""

    def __init__(self, *_: Any, signatures: Sequence[str] = ("serving_monitoring",), **__: Any):
        self.asked: list[str] = []
        self._signatures = signatures

    def metadata(self) -> Any:
        return SimpleNamespace(version=1, signatures=dict.fromkeys(self._signatures))

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        self.asked += texts
        return [self._predict(text) for text in texts]

    def predict_tensors(self, inputs: Mapping[str, Any], *, signature: str) -> dict[str, Any]:
        assert signature == "serving_monitoring"
        texts = inputs["text"]
        return {
            "embedding": hashed_shares(texts)[:, :WIDTH],
            "tokens": np.array([len(text.split()) for text in texts]),
            "unknown_tokens": np.array([text.count("\u2603") for text in texts]),
        }

    def __enter__(self) -> "WordClient":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def _predict(self, text: str) -> Prediction:
        good = 0.9 if "good" in text else 0.2
        label = "pos" if good > 0.5 else "neg"
        return Prediction(label, max(good, 1 - good), {}, (1 - good, good))
