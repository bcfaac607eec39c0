import json

import pytest

from components.ingestion.quarantine import quarantine_line
from components.ingestion.report import MANY_BAD_ROWS, IngestionReport
from components.ingestion.rows import BadRow, Reason


def report_of(examples: int, *bad: BadRow) -> IngestionReport:
    report = IngestionReport(examples=examples)
    for row in bad:
        report.add_bad("f.csv", row)
    return report


def bad(line: int, reason: Reason = Reason.EMPTY_TEXT, rows: int = 1) -> BadRow:
    return BadRow(line, reason, "", rows=rows)


@pytest.mark.parametrize(
    ("examples", "count", "share", "stops"),
    [(99, 1, 0.01, False), (98, 2, 0.01, True), (100, 0, 0.0, False), (999, 1, 0.0, True)],
)
def test_run_stops_when_more_than_the_share_is_bad(
    examples: int, count: int, share: float, stops: bool
) -> None:
    report = report_of(examples, *[bad(line) for line in range(count)])
    assert (report.refusal(share, "q.jsonl") is not None) is stops


def test_refusal_names_counts_files_and_the_next_step() -> None:
    rows = [bad(line, Reason.NOT_UTF8) for line in range(5, 9)]
    message = report_of(90, bad(2), *rows).refusal(0.01, "root/quarantine/q.jsonl")
    assert message == (
        "5 of 95 rows (5.3%) cannot be used, the limit is 1% (data.max_bad_share): not_utf8 4, "
        "empty_text 1; first: f.csv:2 empty_text; f.csv:5 not_utf8; f.csv:6 not_utf8. All bad "
        "rows, with reasons: root/quarantine/q.jsonl. To continue: convert the file, e.g. iconv -f "
        "latin1 -t utf-8"
    )


def test_share_just_over_the_limit_is_rounded_up() -> None:
    message = report_of(9_899, *[bad(line) for line in range(100)]).refusal(0.01, "q")
    assert message is not None
    assert "(1.1%)" in message


def test_source_stops_when_bad_rows_pass_both_the_share_and_the_floor() -> None:
    report = report_of(0, bad(2, rows=MANY_BAD_ROWS))
    assert not report.stops("f.csv", 0.01)
    report.add_bad("f.csv", bad(3))
    report.examples = 100 * MANY_BAD_ROWS
    assert not report.stops("f.csv", 0.01)
    report.examples = MANY_BAD_ROWS
    assert report.stops("f.csv", 0.01)
    assert not report_of(0, bad(2, rows=2 * MANY_BAD_ROWS)).stops("f.csv", 1.0)


def test_stopped_source_is_refused_whatever_the_others_hold() -> None:
    report = report_of(0, bad(2), bad(3, rows=MANY_BAD_ROWS))
    report.stops("f.csv", 0.01)
    whole = IngestionReport.merged([report, report_of(100 * MANY_BAD_ROWS**2)])
    assert whole.refusal(0.01, "q.jsonl") == (
        "f.csv: 10001 of the first 10001 rows (100%) cannot be used, the limit is 1% "
        "(data.max_bad_share): empty_text 10001; first: f.csv:2 empty_text; f.csv:3 empty_text. "
        "Bad rows up to there, with reasons: q.jsonl. To continue: correct the "
        "rows, or raise data.max_bad_share"
    )


def test_unclosed_quote_counts_all_its_lines() -> None:
    report = report_of(10, bad(3, Reason.UNCLOSED_QUOTE, rows=90))
    assert (report.rows, report.quarantined) == (100, 90)
    message = report.refusal(0.5, "q")
    assert message is not None
    assert "close the quote" in message


def test_reports_add_up_in_order_and_survive_json() -> None:
    first = report_of(3, bad(1), bad(2))
    second = report_of(4, bad(8, Reason.NOT_UTF8), bad(9))
    second.error = "broken"
    read_back = [
        IngestionReport.from_json(json.loads(json.dumps(each.to_json())))
        for each in (first, second)
    ]
    whole = IngestionReport.merged(read_back)
    assert whole == IngestionReport(
        examples=7,
        reasons=whole.reasons,
        first=["f.csv:1 empty_text", "f.csv:2 empty_text", "f.csv:8 not_utf8"],
        error="broken",
    )
    assert dict(whole.reasons) == {"empty_text": 3, "not_utf8": 1}


def test_quarantine_line_is_one_line_of_json() -> None:
    row = BadRow(4, Reason.MALFORMED_QUOTES, '"a\\nb', "detail")
    line = quarantine_line("f.csv", row)
    assert line.count("\n") == 1
    assert json.loads(line) == {
        "file": "f.csv",
        "line": 4,
        "reason": "malformed_quotes",
        "detail": "detail",
        "rows": 1,
        "row": '"a\\nb',
    }
