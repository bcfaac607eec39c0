"""Versions of the product and of the libraries that decide what it computes."""

import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path

_REPOSITORY = Path(__file__).parents[1]
#: The commit that an image was built from; the Dockerfile sets it.
COMMIT_VARIABLE = "BERT_COMMIT"
UNKNOWN = "unknown"


def version_lines() -> list[str]:
    """Return one ``name version`` line each for bert, its commit, TFX, TensorFlow and Python.

    Nothing is imported: versions come from the installed packages' metadata.
    """
    return [
        f"bert {_installed('bert-tfx')}",
        f"commit {commit(_REPOSITORY, os.environ)}",
        f"tfx {_installed('tfx')}",
        f"tensorflow {_installed('tensorflow')}",
        f"python {platform.python_version()}",
    ]


def commit(repository: Path, environ: Mapping[str, str]) -> str:
    """Return the commit that the code is from, in 12 digits.

    Args:
        repository: folder that holds the packages. In a checkout, git is asked; "-dirty" is added
            when tracked files differ from the commit.
        environ: environment variables, of which ``BERT_COMMIT`` is used outside a checkout.

    Returns:
        "unknown" when neither source has one.
    """
    if (repository / ".git").exists():
        command = ["git", "-C", str(repository), "describe"]
        command += ["--always", "--dirty", "--abbrev=12", "--exclude=*"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError:  # git is not installed
            return UNKNOWN
        return done.stdout.strip() or UNKNOWN
    return environ.get(COMMIT_VARIABLE, "")[:12] or UNKNOWN


def _installed(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return UNKNOWN
