"""Texts are sent to the server in batches and described in their order."""

import numpy as np
import pytest

from modules.contract.errors import UserError
from modules.contract.text_identity import text_identity
from serving.monitoring.describe import describe
from serving.monitoring.descriptions import hashed_shares
from tests.serving.monitoring.made_descriptions import LABELS, WordClient


def test_descriptions_are_in_the_order_of_the_texts() -> None:
    texts = [f"{'good ' * (n % 7)}text {n}" for n in range(150)] + ["\u2603 snow"]
    client = WordClient()
    described = describe(texts, client, LABELS)  # type: ignore[arg-type]
    assert sorted(client.asked) == sorted(texts)
    assert described.characters.tolist() == [len(text) for text in texts]
    assert [name.decode() for name in described.identities] == [
        text_identity(text).hex() for text in texts
    ]
    assert described.answers.tolist() == [int("good" in text) for text in texts]
    assert described.unknown_tokens.tolist() == [0] * 150 + [1]
    np.testing.assert_allclose(described.confidence[:2], [0.8, 0.9], rtol=1e-6)


def test_model_without_the_signature_is_refused() -> None:
    client = WordClient(signatures=["serving_default"])
    with pytest.raises(UserError, match="without the signature serving_monitoring"):
        describe(["a"], client, LABELS)  # type: ignore[arg-type]


def test_labels_of_another_model_are_refused() -> None:
    with pytest.raises(UserError, match="has 2 labels, but the pushed version of that number has"):
        describe(["a"], WordClient(), ["a", "b", "c"])  # type: ignore[arg-type]


def test_word_shares_ignore_case_and_text_length() -> None:
    shares = hashed_shares(["Good film, good", "GOOD film , good " * 50, "", "\ud800 x"])
    np.testing.assert_allclose(shares[0], shares[1], atol=1e-6)
    np.testing.assert_allclose(shares.sum(axis=1), [1, 1, 0, 1], rtol=1e-4)
    assert np.count_nonzero(shares[0]) == 3
