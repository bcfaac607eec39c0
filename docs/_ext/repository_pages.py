"""A Sphinx extension that reads pages written for GitHub.

GitHub shows the same files, so they hold no directives of Sphinx that it would print:

- what follows the language of a fenced block (``run``, ``skip="reason"``) is for the tests;
- ``<!-- rst`` to ``-->`` holds reStructuredText for the site alone, such as a toctree;
- a page named in ``WHOLE_FILES`` is a file of the repository's root, and links to that file lead
  to the page; links to other files and folders outside ``docs`` become their names.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

from gateway_api import gateway_api

DOCS = Path(__file__).parents[1]

#: Pages of the site that show a file of the repository's root.
WHOLE_FILES = {
    "changelog": "CHANGELOG.md",
    "contributing": "CONTRIBUTING.md",
}

_INFO = re.compile(r"^( *```[a-z]+) [^\n`]+$", re.M)
_REST = re.compile(r"^<!-- rst\n(.*?)^-->$", re.M | re.S)
_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s#:]+)(#[^)\s]*)?\)")
_FENCES = re.compile(r"(^ *```.*?^ *```$)", re.M | re.S)
_GATEWAY_API = "<!-- gateway API -->"


def for_sphinx(name: str, text: str) -> str:
    """Return the Markdown that Sphinx reads for a page.

    Args:
        name: the page's name in Sphinx, a path under ``docs`` without its ending.
        text: what the file holds.
    """
    folder = posixpath.dirname(f"docs/{name}")
    if name in WHOLE_FILES:
        folder, text = "", (DOCS.parent / WHOLE_FILES[name]).read_text("utf-8")
    if _GATEWAY_API in text:
        text = text.replace(_GATEWAY_API, gateway_api())
    parts = _FENCES.split(text)
    for number, part in enumerate(parts):
        if number % 2:
            parts[number] = _INFO.sub(r"\1", part)
        else:
            parts[number] = _LINK.sub(lambda link: _link(link, name, folder), part)
    return _REST.sub(r"````{eval-rst}\n\1````", "".join(parts))


def _link(link: re.Match[str], name: str, folder: str) -> str:
    label, path, anchor = link[1], link[2], link[3] or ""
    target = posixpath.normpath(posixpath.join(folder, path))
    for page, file in WHOLE_FILES.items():
        if target == file:
            target = f"docs/{page}.md"
    if not target.startswith("docs/"):
        return label
    start = posixpath.dirname(f"docs/{name}")
    return f"[{label}]({posixpath.relpath(target, start)}{anchor})"


def _read(app: Any, name: str, source: list[str]) -> None:
    source[0] = for_sphinx(name, source[0])


def setup(app: Any) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("source-read", _read)
    return {"version": "1", "parallel_read_safe": True}
