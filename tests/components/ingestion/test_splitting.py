import collections

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.ingestion.splitting import SplitWeights, shard_of
from modules.contract import features
from modules.contract.errors import UserError
from modules.contract.text_identity import text_identity

EIGHT_ONE_ONE = SplitWeights((8, 1, 1))


def test_split_sizes_follow_the_weights() -> None:
    texts = [f"review number {number}" for number in range(20_000)]
    counts = collections.Counter(EIGHT_ONE_ONE.split_of(text_identity(text)) for text in texts)
    assert counts["train"] == pytest.approx(16_000, abs=250)
    assert counts["eval"] == pytest.approx(2_000, abs=180)
    assert counts["test"] == pytest.approx(2_000, abs=180)


def test_split_of_a_text_is_pinned() -> None:
    """A changed rule would move test examples into training."""
    identities = [text_identity(f"text {number}") for number in range(30)]
    found = "".join(EIGHT_ONE_ONE.split_of(identity)[1] for identity in identities)
    assert found == "vrrrvvrvererrrrrrrrrrrrrrrerrr"


@given(st.binary(min_size=32, max_size=32), st.tuples(*[st.integers(1, 100)] * 3))
def test_every_identity_has_a_split(identity: bytes, weights: tuple[int, ...]) -> None:
    assert SplitWeights(weights).split_of(identity) in features.SPLITS


@given(st.binary(min_size=32, max_size=32), st.integers(1, 64))
def test_every_identity_has_a_shard(identity: bytes, shards: int) -> None:
    assert 0 <= shard_of(identity, shards) < shards


def test_shard_is_independent_of_the_split() -> None:
    of_eval = [
        identity
        for identity in (text_identity(f"text {number}") for number in range(4000))
        if EIGHT_ONE_ONE.split_of(identity) == "eval"
    ]
    assert len({shard_of(identity, 10) for identity in of_eval}) == 10


def test_order_of_the_mapping_does_not_matter() -> None:
    split = SplitWeights.from_mapping({"test": 1, "eval": 2, "train": 7})
    assert split == SplitWeights((7, 2, 1))


@pytest.mark.parametrize(
    "split",
    [
        {"train": 8, "eval": 1},
        {"train": 8, "eval": 1, "test": 0},
        {"train": 8, "eval": 1, "test": 1, "dev": 1},
        {"train": 0.8, "eval": 1, "test": 1},
        {},
    ],
)
def test_invalid_split_is_refused(split: dict[str, int]) -> None:
    with pytest.raises(UserError, match="train=8, eval=1, test=1"):
        SplitWeights.from_mapping(split)
