"""Generator of ``docs/cli.md``: the help text of every command.

Run ``python -m cli.docs`` after changing a command; a test compares the page with the help texts.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from cli.main import app

PAGE = Path(__file__).parents[1] / "docs" / "cli.md"
_WIDTH = 88
_HEAD = """\
# Command line

<!-- Generated: python -m cli.docs -->

| exit code | meaning |
| ---: | --- |
| 0 | success |
| 1 | a failed run or check, or an unexpected error; the message names the log file with the \
traceback, and `bert --debug COMMAND` prints it |
| 2 | an error that you can fix; the message is one line |
| 130 | interrupted with Ctrl-C; the worker is stopped |
"""


def cli_page() -> str:
    """Return the page: the help of ``bert`` and of every command below it."""
    parts = [_HEAD]
    for name, help_text in _helps(typer.main.get_command(app), "bert", None):
        heading = "" if name == "bert" else f"## {name}\n\n"
        parts.append(f"{heading}```text\n{help_text}\n```\n")
    return "\n".join(parts)


def _helps(command: Any, name: str, parent: Any) -> Iterator[tuple[str, str]]:
    """Yield each command's full name and help, groups before their commands."""
    context = command.context_class(
        command, info_name=name, parent=parent, terminal_width=_WIDTH, max_content_width=_WIDTH
    )
    yield context.command_path, command.get_help(context)
    for child_name, child in getattr(command, "commands", {}).items():
        yield from _helps(child, child_name, context)


def main() -> None:
    """Write the page."""
    PAGE.write_text(cli_page(), "utf-8")


if __name__ == "__main__":
    main()
