"""Report on the rows read: counts, the first bad rows, and whether they stop the run."""

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Mapping

from components.ingestion.rows import BadRow, Reason

#: Number of bad rows that a message names.
SHOWN_ROWS = 3

_ADVICE = {
    Reason.NOT_UTF8: "convert the file, e.g. iconv -f latin1 -t utf-8",
    Reason.UNCLOSED_QUOTE: 'close the quote, or double it ("") if it is part of the text',
    Reason.MALFORMED_QUOTES: 'double ("") each quote that is part of a quoted text',
    Reason.WRONG_FIELD_COUNT: "quote texts that contain the delimiter or a line break",
    Reason.UNKNOWN_LABEL: "add the label to data.labels, or empty data.labels",
    Reason.NOT_A_TEXT_FILE: "move the file out of the class folders, or rename it to .txt",
    Reason.TEXT_TOO_LONG: "raise data.max_text_bytes",
    Reason.ROW_TOO_LONG: "raise data.max_text_bytes",
}


@dataclasses.dataclass
class IngestionReport:
    """Counts over one or more files.

    Attributes:
        examples: number of rows that became examples.
        reasons: number of bad rows for each reason.
        first: the first few bad rows, as ``"file:line reason"``.
        error: why a file could not be read; "" if all were.
        feedback: number of ``examples`` that came from feedback spans.
        sources: number of files or class folders that were read.
        from_cache: number of ``sources`` whose parsed rows were cached.
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
        """Number of rows in quarantine."""
        return self.reasons.total()

    @property
    def rows(self) -> int:
        """Number of rows that were read."""
        return self.examples + self.quarantined

    def to_json(self) -> dict[str, object]:
        """Return the report as JSON values."""
        return {**vars(self), "reasons": dict(self.reasons)}

    @classmethod
    def from_json(cls, values: Mapping[str, object]) -> "IngestionReport":
        """Create the report from the output of ``to_json``."""
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
        """Return the message that stops the run, or None if few enough rows are bad.

        Args:
            max_bad_share: largest accepted share of bad rows, from 0 to 1.
            quarantine_file: path of the quarantine file, for the message.
        """
        if self.quarantined <= max_bad_share * self.rows:
            return None
        # Rounded up, so that 1.004% does not read as 1%, which would have passed.
        share = math.ceil(1000 * self.quarantined / self.rows) / 10
        counts = ", ".join(f"{reason} {count}" for reason, count in self.reasons.most_common(3))
        advice = _ADVICE.get(
            Reason(self.reasons.most_common(1)[0][0]),
            "correct the rows, or raise data.max_bad_share",
        )
        return (
            f"{self.quarantined} of {self.rows} rows ({share:g}%) cannot be used, the limit is "
            f"{100 * max_bad_share:g}% (data.max_bad_share): {counts}; first: "
            f"{'; '.join(self.first)}. All bad rows, with reasons: {quarantine_file}. "
            f"To continue: {advice}"
        )
