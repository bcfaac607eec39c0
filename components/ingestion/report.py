"""What happened to the rows: counts, the first offenders, and when they stop the run."""

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Mapping

from components.ingestion.rows import BadRow, Reason

#: How many bad rows a message names.
SHOWN_ROWS = 3

_ADVICE = {
    Reason.NOT_UTF8: "convert the file, e.g. iconv -f latin1 -t utf-8",
    Reason.UNCLOSED_QUOTE: 'close the quote, or double it ("") where it is part of the text',
    Reason.MALFORMED_QUOTES: 'double ("") each quote that is part of a quoted text',
    Reason.WRONG_FIELD_COUNT: "quote texts that hold the delimiter or a line break",
    Reason.UNKNOWN_LABEL: "add the label to data.labels, or empty data.labels",
    Reason.NOT_A_TEXT_FILE: "take it out of the class folders, or name it .txt",
    Reason.TEXT_TOO_LONG: "raise data.max_text_bytes",
    Reason.ROW_TOO_LONG: "raise data.max_text_bytes",
}


@dataclasses.dataclass
class IngestionReport:
    """Counts over one or more files.

    Attributes:
        examples: rows that became examples.
        reasons: bad rows for each reason.
        first: the first few bad rows, as ``"file:line reason"``.
        error: why a file could not be read, if one could not.
        feedback: those of ``examples`` that came from feedback spans.
        sources: files, or class folders, that were read.
        from_cache: those of ``sources`` whose parsed rows were in the cache.
    """

    examples: int = 0
    reasons: Counter[str] = dataclasses.field(default_factory=Counter)
    first: list[str] = dataclasses.field(default_factory=list)
    error: str = ""
    feedback: int = 0
    sources: int = 0
    from_cache: int = 0

    def add_bad(self, path: str, row: BadRow) -> None:
        """Count a bad row."""
        self.reasons[row.reason.value] += row.rows
        if len(self.first) < SHOWN_ROWS:
            self.first.append(f"{path}:{row.line} {row.reason.value}")

    @property
    def quarantined(self) -> int:
        """How many rows are in quarantine."""
        return self.reasons.total()

    @property
    def rows(self) -> int:
        """How many rows were read."""
        return self.examples + self.quarantined

    def to_json(self) -> dict[str, object]:
        """Return the report as JSON values."""
        return {
            "examples": self.examples,
            "reasons": dict(self.reasons),
            "first": self.first,
            "error": self.error,
            "feedback": self.feedback,
            "sources": self.sources,
            "from_cache": self.from_cache,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, object]) -> "IngestionReport":
        """Read back what ``to_json`` gave."""
        report = cls(**values)  # type: ignore[arg-type]
        report.reasons = Counter(report.reasons)
        return report

    @classmethod
    def merged(cls, reports: Iterable["IngestionReport"]) -> "IngestionReport":
        """Return the sum of several files' reports, in their order."""
        whole = cls()
        for report in reports:
            whole.examples += report.examples
            whole.reasons += report.reasons
            whole.first = (whole.first + report.first)[:SHOWN_ROWS]
            whole.error = whole.error or report.error
            whole.feedback += report.feedback
            whole.sources += report.sources
            whole.from_cache += report.from_cache
        return whole

    def refusal(self, max_bad_share: float, quarantine_file: str) -> str | None:
        """Return why the run must stop, or None if few enough rows are bad.

        Args:
            max_bad_share: the share of rows that may be bad, from 0 to 1.
            quarantine_file: where the bad rows can be read.
        """
        if self.quarantined <= max_bad_share * self.rows:
            return None
        # Rounded up: 1.004 % must not read as the 1 % that would have passed.
        share = math.ceil(1000 * self.quarantined / self.rows) / 10
        counts = ", ".join(f"{reason} {count}" for reason, count in self.reasons.most_common(3))
        advice = _ADVICE.get(Reason(self.reasons.most_common(1)[0][0]), "correct them")
        return (
            f"{self.quarantined} of {self.rows} rows ({share:g}%) cannot be used, the limit is "
            f"{100 * max_bad_share:g}% (data.max_bad_share): {counts}; first: "
            f"{'; '.join(self.first)}. All of them, with reasons: {quarantine_file}. "
            f"To go on: {advice}"
        )
