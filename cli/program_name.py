"""How the reader's shell finds ``bert``, for commands that are printed to be typed."""

import shlex
import shutil
import sys
from pathlib import Path


def program_name() -> str:
    """What to type for this environment's ``bert``.

    "bert" where PATH leads to it, as in an activated environment; else its path, from the working
    directory if it lies below that, as after ``make run``. Quoted for a shell.
    """
    script = Path(sys.executable).with_name("bert")
    found = shutil.which("bert")
    if not script.exists() or (found and Path(found).samefile(script)):
        return "bert"
    folder = Path.cwd()
    return shlex.quote(str(script.relative_to(folder) if script.is_relative_to(folder) else script))
