import tomllib

import pytest

from pipeline.toml_text import toml_value


@pytest.mark.parametrize(
    "value",
    [
        1,
        True,
        0.5,
        1e-05,
        1e20,
        "",
        'a "quoted" \\ path\nwith lines\tand \x00 \x7f',
        "naïve 日本語 🎬",
        [],
        ["a", "b"],
        {},
        {"min": 1, "odd key": {"x": [1, 2]}, "naïve": 1},
    ],
)
def test_toml_value_round_trips(value: object) -> None:
    assert tomllib.loads(f"value = {toml_value(value)}")["value"] == value
