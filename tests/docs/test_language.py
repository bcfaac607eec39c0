"""Docstrings, comments, messages, pages and test names use plain English.

``PHRASES`` lists phrases that the style guide replaces: stiff or ambiguous ones, and words for
which the glossary has another. Add a phrase only if it is hardly ever right.
"""

import ast
import dataclasses
import io
import re
import subprocess
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]

#: Files and folders that are checked.
CHECKED = (
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "README.md",
    "SECURITY.md",
    "benchmarks",
    "cli",
    "components",
    "data",
    "docs",
    "examples",
    "modules",
    "pipeline",
    "pyproject.toml",
    "runners",
    "scripts",
    "serving",
    "tests",
)
SUFFIXES = {".py", ".md", ".toml", ".html"}

#: Phrase, as a regular expression in which a space matches any white space -> what to write.
PHRASES = {
    r"under way": "running, active",
    r"(?:is|are) no more(?! than)": "does not exist, no longer exists",
    r"(?:is|are) not there": "is missing, does not exist",
    r"(?:take|takes|took|taken|taking) (?:\w+ ){0,2}back": "roll back, undo",
    r"(?:give|gives|gave|given|giving) (?:\w+ ){0,1}back": "return, release",
    r"(?:tell|tells|told) of": "describe, report",
    r"say(?:s)? of": "describe, report",
    r"told by": "measured by, detected by",
    r"but for": "except",
    r"beside": "next to, in addition to",
    r"what (?:is|was) to become of": "name the decision",
    r"what came of": "the result of",
    r"(?:is|are) brought in": "is loaded lazily, is imported",
    r"brings? in (?:when|where) asked": "load lazily",
    r"(?:no|by) chance": "random, statistically significant",
    r"a trifle": "large enough to matter",
    r"the other way round": "vice versa, conversely",
    r"whoever": "name the person or program",
    r"(?:has|have|had) come on": "progress",
    r"goes by (?:a|an|the|its|their)": "depends on, is decided by",
    r"cannot be had": "cannot be loaded, is not available",
    r"where (?:\w+ ){1,4}(?:stands|stand|lies)": "where it is; its path, its origin",
    r"as (?:it|they) stands?": "unchanged",
    r"at hand": "available",
    r"way out": "internet access",
    r"slips? of the pen": "typo",
    r"next to (?:no|nothing)": "little, hardly any",
    r"(?:in|for) company": "in a batch, for other requests",
    r"mend(?:s|ed|ing)?": "fix, correct",
    r"puts? right": "correct, fix",
    r"further tr(?:y|ies)": "retry",
    r"(?:two|missed|next|last|each|every) looks?": "poll",
    r"ticks?": "poll",
    r"goes on (?:from|with)|to go on": "resume, continue",
    r"(?:texts|tokens|trials|rows|epochs) an? (?:request|text|batch|trial|epoch|step)": "per",
}
_PATTERNS = {
    re.compile(rf"\b(?:{phrase})\b".replace(" ", r"\s+"), re.IGNORECASE): advice
    for phrase, advice in PHRASES.items()
}

#: A docstring is an imperative or a noun phrase, not a question without a question mark.
_RIDDLE = re.compile(r"(?:What|How|Why|Where|When|Which|Who)\b[^?]*$")

#: (file, phrase) -> why the phrase is right there.
EXEMPT = {
    ("tests/docs/test_language.py", "*"): "this file lists the phrases",
    ("tests/architecture/test_imports.py", "what"): "the docstring is a whole sentence",
}


@dataclasses.dataclass(frozen=True)
class Passage:
    """A piece of prose.

    Attributes:
        line: the line on which it starts.
        text: the text, with one line per line of the file.
        is_docstring: whether it is the docstring of a module, class or function.
    """

    line: int
    text: str
    is_docstring: bool = False


def passages(path: Path) -> Iterator[Passage]:
    """Yield the prose in a file."""
    text = path.read_text("utf-8")
    if path.suffix == ".py":
        yield from _strings(text)
        yield from _comments(text)
        return
    if path.suffix == ".toml":
        text = re.sub(r"^#", " ", text, flags=re.M)
    yield Passage(1, text)


def _strings(source: str) -> Iterator[Passage]:
    """Yield string literals, with implicit concatenation resolved, and the names of tests."""
    tree = ast.parse(source)
    docstrings = set()
    in_f_strings = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if ast.get_docstring(node) is not None:
                docstrings.add(id(node.body[0].value))
            if getattr(node, "name", "").startswith("test_"):
                yield Passage(node.lineno, node.name.replace("_", " "))
        elif isinstance(node, ast.JoinedStr):
            in_f_strings |= {id(value) for value in node.values}
            parts = [v.value if isinstance(v, ast.Constant) else "{}" for v in node.values]
            yield Passage(node.lineno, "".join(map(str, parts)))
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or id(node) in in_f_strings:
            continue
        if isinstance(node.value, str):
            yield Passage(node.lineno, node.value, id(node) in docstrings)


def _comments(source: str) -> Iterator[Passage]:
    """Yield comments, with those on consecutive lines joined."""
    block: list[tokenize.TokenInfo] = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        if block and token.start[0] != block[-1].start[0] + 1:
            yield _joined(block)
            block = []
        block.append(token)
    if block:
        yield _joined(block)


def _joined(block: list[tokenize.TokenInfo]) -> Passage:
    lines = [token.string.lstrip("#:") for token in block]
    return Passage(block[0].start[0], "\n".join(lines))


def checked_files() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *CHECKED],
        cwd=REPOSITORY,
        capture_output=True,
        check=False,
    )
    names = listed.stdout.decode().split("\0")
    return sorted(
        name for name in names if Path(name).suffix in SUFFIXES and (REPOSITORY / name).is_file()
    )


def find_phrases(passage: Passage) -> Iterator[tuple[int, str, str]]:
    """Yield the line, the phrase and the advice for every phrase to replace."""
    for pattern, advice in _PATTERNS.items():
        for match in pattern.finditer(passage.text):
            line = passage.line + passage.text.count("\n", 0, match.start())
            yield line, " ".join(match[0].split()), f"write: {advice}"
    first_line = passage.text.partition("\n")[0]
    if passage.is_docstring and _RIDDLE.match(first_line):
        advice = "start with an imperative verb or a noun phrase"
        yield passage.line, first_line.split()[0], advice


@pytest.mark.parametrize("name", checked_files())
def test_prose_uses_plain_english(name: str) -> None:
    if (name, "*") in EXEMPT:
        pytest.skip(EXEMPT[name, "*"])
    found = [
        f"{name}:{line}: {phrase!r}; {advice}"
        for passage in passages(REPOSITORY / name)
        for line, phrase, advice in find_phrases(passage)
        if (name, phrase.lower()) not in EXEMPT
    ]
    assert not found, "\n".join(found)


def test_exemptions_are_needed() -> None:
    unused = []
    for name, phrase in EXEMPT:
        found = {
            found.lower()
            for passage in passages(REPOSITORY / name)
            for _, found, _ in find_phrases(passage)
        }
        if (phrase != "*" and phrase not in found) or not found:
            unused.append((name, phrase))
    assert unused == []


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('"""What the server does."""', ["What"]),
        ('"""Return the result."""', []),
        ("# The run is under\n# way.", ["under way"]),
        ('f"{x} is " "no more"', ["is no more"]),
        ('"is no more than"', []),
        ("def test_file_that_is_not_there(): ...", ["is not there"]),
        ('x = "besides"', []),
    ],
)
def test_phrases_are_found_in_python(source: str, expected: list[str], tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(source)
    found = [phrase for passage in passages(path) for _, phrase, _ in find_phrases(passage)]
    assert found == expected


def test_phrases_are_found_across_lines_of_a_page(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text("A title\n\nA run that is under\nway.\n")
    assert list(find_phrases(*passages(path))) == [(3, "under way", "write: running, active")]
