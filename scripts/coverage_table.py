"""Prints coverage per package from coverage.py's JSON report.

usage: scripts/coverage_table.py [--files] REPORT

With ``--files``, one line per file, those with the most uncovered branches first.
"""

import argparse
import json
from collections import Counter
from pathlib import Path

_COUNTS = ("num_statements", "covered_lines", "num_branches", "covered_branches")
_ROW = "{:<44} {:>8} {:>9} {:>9} {:>9}"


def _percent(covered: int, total: int) -> str:
    return f"{100 * covered / total:.1f} %" if total else "-"


def _print_row(name: str, counts: Counter[str]) -> None:
    statements, covered_lines, branches, covered_branches = (counts[key] for key in _COUNTS)
    lines, paths = _percent(covered_lines, statements), _percent(covered_branches, branches)
    print(_ROW.format(name, statements, lines, branches, paths).rstrip())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", action="store_true", help="one line per file")
    parser.add_argument("report", type=Path)
    options = parser.parse_args()
    files = json.loads(options.report.read_text("utf-8"))["files"]
    rows: dict[str, Counter[str]] = {}
    for name, found in files.items():
        row = rows.setdefault(name if options.files else name.partition("/")[0], Counter())
        row.update({key: found["summary"][key] for key in _COUNTS})
    print(_ROW.format("", "lines", "covered", "branches", "covered"))
    missing = {name: row["num_branches"] - row["covered_branches"] for name, row in rows.items()}
    for name in sorted(rows, key=lambda name: (-missing[name] if options.files else 0, name)):
        _print_row(name, rows[name])
    _print_row("total", sum(rows.values(), Counter()))


if __name__ == "__main__":
    main()
