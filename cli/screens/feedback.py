"""Output of ``bert feedback``: exports, texts to review, reviews, and spans."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Column, Table
from rich.text import Text

from cli.terminal import local_time, plain_table, print_json, stdout
from serving.feedback import reasons

if TYPE_CHECKING:
    from serving.feedback.export import SpanReport
    from serving.feedback.reviews import Reviewed
    from serving.feedback.selection import Candidate
    from serving.feedback.span_list import SpanState

_ID_DIGITS = 12
_TEXT_CHARACTERS = 80

#: Meanings of a selection's counts, in the order in which they are printed.
_MEANINGS = {
    "votes": "votes",
    "texts": "different texts",
    "exported": "exported",
    "reviewed": "of which reviewed",
    reasons.ALREADY_EXPORTED: "in an earlier span",
    reasons.HELD_OUT: "in the test split",
    reasons.TOO_LONG: "too long (data.max_text_bytes)",
    reasons.DISCARDED: "discarded in a review",
    reasons.CONFLICT: "conflicting votes",
    reasons.NEW_CLASS: "label unknown to the model",
    reasons.TOO_FEW_VOTES: "too few votes (feedback.min_votes)",
    reasons.OVER_SHARE: "above the share of one key (feedback.max_share_per_key)",
    reasons.OVER_MAX: "above feedback.max_examples",
}


def print_export(report: "SpanReport", *, nothing_held_out: bool, as_json: bool) -> None:
    """Print the result of an export."""
    if as_json:
        print_json(_export_json(report))
        return
    console = stdout()
    table = Table("", Column(justify="right"), box=None, pad_edge=False, show_header=False)
    for name, meaning in _MEANINGS.items():
        table.add_row(Text(meaning), str(report.counts[name]))
    console.print(table)
    if nothing_held_out:
        console.print("No run yet, so no texts are held out for the test split.")
    for number in report.healed:
        console.print(f"Recorded span-{number} of an interrupted export.")
    aside = len(report.conflicts) + len(report.new_classes)
    if aside:
        console.print(f"Texts to review: {aside}; run `bert feedback review` to list them.")
    if report.number is None:
        console.print("Nothing new to export; no span was written.")
    else:
        console.print(f"{report.path}: {report.examples} examples", soft_wrap=True)


def print_questions(candidates: "Sequence[Candidate]", *, as_json: bool) -> None:
    """Print the texts to review, with all their votes."""
    if as_json:
        print_json([_aside_json(each) for each in candidates])
        return
    console = stdout()
    if not candidates:
        console.print("No texts to review.")
        return
    table = plain_table("id", "reason", "votes", "text")
    for each in candidates:
        votes = ", ".join(f"{label} ({voter})" for voter, label in each.votes)
        table.add_row(
            each.text_identity[:_ID_DIGITS],
            Text(_MEANINGS[each.reason]),
            Text(votes),
            Text(_shorten(each.text)),
        )
    console.print(table)


def print_review(reviewed: "Reviewed", *, as_json: bool) -> None:
    """Print the verdict of a review."""
    if as_json:
        print_json(dataclasses.asdict(reviewed))
        return
    verdict = "discarded" if reviewed.label is None else f"is {reviewed.label}"
    line = f"{reviewed.text_identity[:_ID_DIGITS]} {verdict}: {_shorten(reviewed.text)}"
    stdout().print(line, soft_wrap=True)
    if reviewed.span is not None:
        stdout().print(f"span-{reviewed.span} already contains the text and does not change.")


def print_spans(spans: "Iterable[SpanState]", *, as_json: bool) -> None:
    """Print the spans."""
    if as_json:
        print_json([dataclasses.asdict(span) for span in spans])
        return
    examples = Column("examples", justify="right")
    table = plain_table("span", "created", examples, "state", "sha256")
    for span in spans:
        style = "" if span.state == "sound" else "bold red"
        table.add_row(
            f"span-{span.number}",
            "" if span.created is None else local_time(span.created),
            "" if span.examples is None else str(span.examples),
            Text(span.state, style),
            span.digest[:_ID_DIGITS],
        )
    if table.row_count:
        stdout().print(table)
    else:
        stdout().print("No spans yet; run `bert feedback export`.")


def _export_json(report: "SpanReport") -> dict[str, Any]:
    return {
        "span": report.number,
        "path": None if report.path is None else str(report.path),
        "sha256": report.digest,
        "examples": report.examples,
        "counts": report.counts,
        "healed": list(report.healed),
        "conflicts": [_aside_json(each) for each in report.conflicts],
        "new_classes": [_aside_json(each) for each in report.new_classes],
    }


def _aside_json(candidate: "Candidate") -> dict[str, Any]:
    return {
        "id": candidate.text_identity,
        "reason": candidate.reason,
        "votes": [{"key": voter, "label": label} for voter, label in candidate.votes],
        "text": candidate.text,
    }


def _shorten(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _TEXT_CHARACTERS else f"{line[: _TEXT_CHARACTERS - 1]}…"
