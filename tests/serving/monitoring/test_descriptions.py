import numpy as np
import pytest

from serving.monitoring.descriptions import BUCKETS, Descriptions, concatenate, hashed_shares


def columns(texts: int) -> dict[str, np.ndarray]:
    return {
        "identities": np.array([b"0" * 64] * texts),
        "characters": np.arange(texts, dtype=np.int32),
        "tokens": np.zeros(texts, np.int32),
        "unknown_tokens": np.zeros(texts, np.int32),
        "words": np.zeros((texts, BUCKETS), np.float32),
        "embeddings": np.zeros((texts, 4), np.float32),
        "scores": np.full((texts, 2), 0.5, np.float32),
        "answers": np.zeros(texts, np.int32),
    }


def test_further_columns_are_ignored() -> None:
    found = Descriptions.from_columns({**columns(3), "more": np.zeros(1)})
    assert len(found) == 3
    assert set(found.columns()) == set(columns(0))
    assert concatenate([found, found.take([0])]).characters.tolist() == [0, 1, 2, 0]
    assert found.confidence.tolist() == [0.5] * 3


@pytest.mark.parametrize(
    "changes",
    [
        {"tokens": None},
        {"tokens": np.zeros(2, np.int32)},
        {"words": np.zeros((3, BUCKETS - 1), np.float32)},
    ],
    ids=["a column is missing", "another length", "other buckets"],
)
def test_invalid_columns_are_refused(changes: dict[str, np.ndarray | None]) -> None:
    given = {**columns(3), **changes}
    with pytest.raises(ValueError, match=r"column|words"):
        Descriptions.from_columns({k: v for k, v in given.items() if v is not None})


def test_shares_of_a_text_without_words_are_zero() -> None:
    shares = hashed_shares(["a A b", " "])
    assert sorted(shares[0][shares[0] > 0].tolist()) == pytest.approx([1 / 3, 2 / 3])
    assert shares[1].sum() == 0
