"""The documentation site: pages, pictures, and that it builds without a warning."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
DOCS = REPOSITORY / "docs"
PAGES = sorted(path.relative_to(DOCS).with_suffix("").as_posix() for path in DOCS.rglob("*.md"))
DIAGRAMS = sorted((DOCS / "diagrams").glob("*.dot"))


@pytest.fixture(autouse=True)
def _import_the_extensions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(DOCS / "_ext"))
    monkeypatch.syspath_prepend(str(DOCS / "diagrams"))


def toctrees(page: str) -> set[str]:
    """The pages that a page's toctrees name."""
    text = (DOCS / f"{page}.md").read_text("utf-8")
    found: set[str] = set()
    for toctree in re.findall(r"^\.\. toctree::\n((?: {3}.*\n|\n)+)", text, re.M):
        names = [line.strip() for line in toctree.splitlines()]
        for name in filter(lambda name: name and not name.startswith(":"), names):
            files = (DOCS / page).parent.glob(f"{name}.md")
            found |= {file.relative_to(DOCS).with_suffix("").as_posix() for file in files}
    return found


def test_every_page_is_in_a_toctree_below_the_index() -> None:
    seen: set[str] = set()
    waiting = {"index"}
    while waiting:
        page = waiting.pop()
        seen.add(page)
        waiting |= toctrees(page) - seen
    assert set(PAGES) - seen == set()


def test_index_table_and_toctree_name_the_same_pages() -> None:
    linked = re.findall(r"^\| \[[^\]]+\]\(([^)]+)\.md\)", (DOCS / "index.md").read_text(), re.M)
    assert set(linked) == toctrees("index")


def test_words_for_the_tests_are_not_shown() -> None:
    from repository_pages import for_sphinx

    text = 'Do:\n\n```bash skip="takes long"\nmake test\n```\n\n```python\n1\n```\n'
    assert for_sphinx("page", text) == "Do:\n\n```bash\nmake test\n```\n\n```python\n1\n```\n"


@pytest.mark.parametrize(
    ("page", "link", "shown"),
    [
        ("a", "[B](b.md#c)", "[B](b.md#c)"),
        ("x/a", "[log](../../CHANGELOG.md)", "[log](../changelog.md)"),
        ("a", "[examples/](../examples)", "examples/"),
        ("a", "[site](https://example.com)", "[site](https://example.com)"),
        ("a", "![picture](images/a.svg)", "![picture](images/a.svg)"),
    ],
)
def test_links_lead_to_pages_of_the_site(page: str, link: str, shown: str) -> None:
    from repository_pages import for_sphinx

    assert for_sphinx(page, link) == shown


def test_changelog_page_shows_the_changelog() -> None:
    from repository_pages import for_sphinx

    shown = for_sphinx("changelog", "a link for GitHub")
    assert shown == (REPOSITORY / "CHANGELOG.md").read_text("utf-8")


def test_gateway_page_lists_every_route() -> None:
    from gateway_api import gateway_api, openapi_document

    page = gateway_api()
    paths = openapi_document()["paths"]
    assert "/v1/predict" in paths
    for path, operations in paths.items():
        for method in operations:
            assert f"### {method.upper()} {path}\n" in page


def test_public_name_without_a_docstring_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    import api_docstrings

    def documented() -> None: ...

    for lines in (["Return."], ["", " "]):
        api_docstrings._process(None, "function", "a.b", documented, None, lines)
    assert [record.getMessage() for record in caplog.records] == ["a.b has no docstring"]


@pytest.mark.parametrize("source", DIAGRAMS, ids=lambda source: source.stem)
def test_picture_is_drawn_from_its_source(source: Path) -> None:
    from draw import digest

    picture = (DOCS / "images" / f"{source.stem}.svg").read_text("utf-8")
    assert f"<!-- {source.name} {digest(source)} -->" in picture, "run `make diagrams`"


@pytest.mark.parametrize("picture", sorted((DOCS / "images").glob("*.svg")), ids=lambda p: p.stem)
def test_picture_is_readable_in_light_and_dark(picture: Path) -> None:
    text = picture.read_text("utf-8")
    assert 'class="background"' in text
    assert "@media (prefers-color-scheme: dark)" in text


@pytest.mark.slow
def test_site_builds_without_a_warning(tmp_path: Path) -> None:
    options = ["-q", "-W", "-n", "--keep-going", "-d", str(tmp_path / "trees")]
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, "docs", str(tmp_path / "site")],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "search.html").is_file()
    page = (tmp_path / "site" / "reference" / "client.html").read_text("utf-8")
    assert "serving.client.Client.predict" in page
