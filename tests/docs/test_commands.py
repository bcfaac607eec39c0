"""The commands in README and docs run.

The info string of a fenced block defines how it is tested:

    ```bash run            runs in a copy of the repository and must exit with code 0
    ```console run         lines after "$ " run, and the lines below are their output, in which
                           "..." matches any text
    ```bash skip="reason"  does not run, for a reason

The blocks of a page run in order in the same folder. Other shell blocks are errors.
"""

import dataclasses
import doctest
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
SHELLS = ("bash", "console", "sh", "shell")
TIMEOUT_SECONDS = 880


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced shell block."""

    page: str
    line: int
    language: str
    words: tuple[str, ...]
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def skip_reason(self) -> str:
        return next((w.removeprefix("skip=") for w in self.words if w.startswith("skip=")), "")


def pages() -> list[Path]:
    return [
        REPOSITORY / "README.md",
        REPOSITORY / "CONTRIBUTING.md",
        *sorted((REPOSITORY / "docs").rglob("*.md")),
    ]


def blocks(page: Path) -> list[Block]:
    found = []
    text = page.read_text("utf-8")
    for match in re.finditer(r"^( *)```(\w+)([^\n]*)\n(.*?)^\1```$", text, re.M | re.S):
        indent, language, info, body = match.groups()
        if language in SHELLS:
            line = text.count("\n", 0, match.start()) + 1
            lines = [line.removeprefix(indent) for line in body.splitlines()]
            name = str(page.relative_to(REPOSITORY))
            found.append(Block(name, line, language, tuple(shlex.split(info)), "\n".join(lines)))
    return found


def script_and_output(block: Block) -> tuple[str, str]:
    """Return the block's commands and its output ("" for bash blocks)."""
    if block.language != "console":
        return block.text, ""
    lines = block.text.splitlines()
    script = "\n".join(line[2:] for line in lines if line.startswith("$ "))
    return script, "\n".join(line for line in lines if not line.startswith("$ "))


ALL_BLOCKS = [block for page in pages() for block in blocks(page)]


RUNNABLE = [block for block in ALL_BLOCKS if "run" in block.words]


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Copies of the repository by page, created by the page's first block."""
    return {}


def copy_of_repository(target: Path) -> Path:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        check=False,
    )
    names = listed.stdout.decode().split("\0") if listed.returncode == 0 else []
    if not any(names):  # an unpacked archive
        shutil.copytree(
            REPOSITORY,
            target,
            dirs_exist_ok=True,
            ignore=shutil.ignore_patterns(".venv", ".cache", ".*_cache", "__pycache__"),
        )
    for name in filter(None, names):
        if (REPOSITORY / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, target / name)
    (target / ".venv").symlink_to(REPOSITORY / ".venv")
    return target


def run_script(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a block's commands in a copy of the repository with its environment activated."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("BERT__", "BERT_"))}
    environment |= {
        "PATH": f"{folder}/.venv/bin:{environment['PATH']}",
        "PYTHONPATH": str(folder),
        "COLUMNS": "100",
        "NO_COLOR": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )


@pytest.mark.parametrize("block", RUNNABLE, ids=str)
def test_documented_command_works(
    block: Block, copies: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> None:
    if block.page not in copies:
        copies[block.page] = copy_of_repository(tmp_path_factory.mktemp("repository"))
    script, shown = script_and_output(block)
    done = run_script(script, copies[block.page])
    assert done.returncode == 0, f"{block}\n{script}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    if shown:
        flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
        assert doctest.OutputChecker().check_output(shown + "\n", done.stdout, flags), (
            f"{block}: expected\n{shown}\nbut the commands print\n{done.stdout}"
        )


@pytest.mark.parametrize("block", ALL_BLOCKS, ids=str)
def test_block_says_whether_it_runs(block: Block) -> None:
    assert ("run" in block.words) != bool(block.skip_reason), (
        f'{block}: write ```{block.language} run, or ```{block.language} skip="reason"'
    )
    if block.skip_reason:
        assert len(block.skip_reason.split()) >= 2, f"{block}: give a reason of several words"
