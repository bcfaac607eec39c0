"""Consoles: coloured on a terminal, plain text elsewhere."""

import datetime
import getpass
import json
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Column, Table

_UNBOUNDED = 10_000


def stdout() -> "Console":
    """Return the console for results. It prints text as is: no markup, no highlighting."""
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = _UNBOUNDED  # no line wrapping in files and pipes
    return console


def stderr() -> "Console":
    """Return the console for errors."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


def print_error(message: str) -> None:
    """Print one line on standard error: a red ``error:``, then the message."""
    from rich.text import Text

    line = Text.assemble(("error: ", "bold red"), " ".join(message.split()))
    stderr().print(line)


def print_json(value: Any) -> None:
    """Print JSON types on standard output, indented."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def plain_table(*columns: "Column | str") -> "Table":
    """Return a table without lines, with bold column names."""
    from rich.table import Table

    return Table(*columns, box=None, pad_edge=False, header_style="bold")


def duration(seconds: float) -> str:
    """Format seconds for people: ``4.2 s``, ``1:05``, ``1:02:03``."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def local_time(seconds: float) -> str:
    """Return seconds since 1970 as local time: ``2026-01-31 23:59:59``."""
    return f"{datetime.datetime.fromtimestamp(seconds):%Y-%m-%d %H:%M:%S}"


def program_name() -> str:
    """Return what to type for this environment's ``bert``, quoted for a shell.

    That is "bert" if it is on PATH, as in an activated environment. Otherwise it is the script's
    path, relative if it is below the working directory, as after ``make run``.
    """
    script = Path(sys.executable).with_name("bert")
    found = shutil.which("bert")
    if not script.exists() or (found and Path(found).samefile(script)):
        return "bert"
    folder = Path.cwd()
    return shlex.quote(str(script.relative_to(folder) if script.is_relative_to(folder) else script))


def user_name() -> str:
    """Return the login name, or "command line" if there is none, as in some containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # Python 3.13 raises the latter
        return "command line"
