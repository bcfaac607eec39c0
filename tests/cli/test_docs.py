import pytest

from cli.docs import PAGE, cli_page


def test_page_matches_the_help_texts() -> None:
    assert PAGE.read_text("utf-8") == cli_page(), "run python -m cli.docs"


@pytest.mark.parametrize(
    "command",
    [
        "run",
        "serve",
        "predict",
        "runs",
        "show",
        "doctor",
        "config show",
        "config init",
        "schema show",
        "schema accept",
        "data fetch",
    ],
)
def test_page_shows_usage_of_each_command(command: str) -> None:
    assert f"## bert {command}\n\n```text\nUsage: bert {command} [OPTIONS]" in cli_page()
