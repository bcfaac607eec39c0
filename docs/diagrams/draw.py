"""Draws the diagrams: each ``NAME.dot`` here becomes ``docs/images/NAME.svg``.

Run ``make diagrams`` after a change; it needs Graphviz. A source's first line, a comment, is the
picture's title. Each picture carries the digest of its
source, which a test compares, so that neither the tests nor the site need Graphviz. Colours are
classes, so that a picture follows the reader's light or dark theme.
"""

import hashlib
import html
import re
import subprocess
from pathlib import Path

SOURCES = Path(__file__).parent
IMAGES = SOURCES.parent / "images"

_OPTIONS = [
    "-Tsvg",
    "-Gfontname=Helvetica,Arial,sans-serif",
    "-Gfontsize=13",
    "-Gpad=0.2",
    "-Nfontname=Helvetica,Arial,sans-serif",
    "-Nfontsize=12",
    "-Nshape=box",
    "-Nstyle=rounded",
    "-Efontname=Helvetica,Arial,sans-serif",
    "-Efontsize=11",
    "-Earrowsize=0.7",
]
_STYLE = """\
  text { fill: #1f2328; }
  .edge text { fill: #59636e; }
  .background { fill: #ffffff; }
  .process path, .process polygon { fill: #ddf4ff; stroke: #0969da; }
  .store path, .store polygon { fill: #fff8c5; stroke: #9a6700; }
  .outside path, .outside polygon { fill: #f6f8fa; stroke: #59636e; }
  .cluster path, .cluster polygon { fill: none; stroke: #8c959f; stroke-dasharray: 4 4; }
  .edge path { fill: none; stroke: #59636e; }
  .edge polygon { fill: #59636e; stroke: #59636e; }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc; }
    .edge text { fill: #9198a1; }
    .background { fill: #0d1117; }
    .process path, .process polygon { fill: #121d2f; stroke: #4493f8; }
    .store path, .store polygon { fill: #272115; stroke: #d29922; }
    .outside path, .outside polygon { fill: #151b23; stroke: #9198a1; }
    .cluster path, .cluster polygon { stroke: #656c76; }
    .edge path { stroke: #9198a1; }
    .edge polygon { fill: #9198a1; stroke: #9198a1; }
  }
"""


def digest(source: Path) -> str:
    """Return the digest that the picture of a source carries."""
    return hashlib.sha256(source.read_bytes()).hexdigest()


def draw(source: Path) -> str:
    """Return the SVG of a source.

    Raises:
        subprocess.CalledProcessError: Graphviz refuses it; the reason is on standard error.
    """
    done = subprocess.run(
        ["dot", *_OPTIONS, str(source)], stdout=subprocess.PIPE, text=True, check=True
    )
    svg = done.stdout[done.stdout.index("<svg") :]
    svg = re.sub(r"<!--.*?-->\n", "", svg, flags=re.S)
    svg = re.sub(r"<title>.*?</title>\n", "", svg)
    svg = re.sub(r' (?:fill|stroke)="[^"]*"', "", svg)
    svg = re.sub(r'<svg width="[^"]*" height="[^"]*"\n', '<svg role="img"', svg)
    svg = svg.replace("<polygon ", '<polygon class="background" ', 1)
    words = html.escape(source.read_text("utf-8").partition("\n")[0].removeprefix("// "))
    head = f"\n<title>{words}</title>\n<!-- {source.name} {digest(source)} -->\n"
    return re.sub(r"(<svg[^>]*>)", rf"\1{head}<style>\n{_STYLE}</style>", svg, count=1)


def main() -> None:
    """Draw all of them."""
    for source in sorted(SOURCES.glob("*.dot")):
        (IMAGES / f"{source.stem}.svg").write_text(draw(source), "utf-8")


if __name__ == "__main__":
    main()
