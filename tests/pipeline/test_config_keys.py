import pytest

from pipeline.config import Config
from pipeline.config_keys import keys, legal, nearest

KEYS = keys(Config)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("trainer.max_length", "a whole number from 8 to 512"),
        ("trainer.learning_rate", "a number above 0 to 1"),
        ("trainer.xla", "true or false"),
        ("trainer.truncation", '"head", "tail" or "head+tail"'),
        ("data.path", "a string or a list, each a string"),
        ("data.text_column", "a string, not empty"),
    ],
)
def test_allowed_values_are_described_in_words(key: str, words: str) -> None:
    assert legal(KEYS[key]) == words


def test_nested_sections_have_dotted_keys() -> None:
    assert {"data.split.train", "tuner.search_space", "evaluator.floors"} <= set(KEYS)
    assert "data.split" not in KEYS


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("trainer.epoch", "trainer.epochs"),
        ("max_length", "trainer.max_length"),
        ("pusher.base_dir", "pusher.base_directory"),
        ("zzz", None),
    ],
)
def test_nearest_key_is_suggested(name: str, found: str | None) -> None:
    assert nearest(name, KEYS) == found
