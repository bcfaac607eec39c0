import pytest

from cli.docs import PAGE, cli_page


def test_page_is_current() -> None:
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
def test_page_has_every_command(command: str) -> None:
    assert f"## bert {command}\n\n```text\nUsage: bert {command} [OPTIONS]" in cli_page()
