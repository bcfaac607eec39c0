"""Output of ``bert predict``: a table on a terminal, or one line per prediction, and progress."""

import dataclasses
import json
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Self, TextIO, TypeVar

from cli.terminal import duration, plain_table, stderr, stdout

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status

    from runners.predict.local import TextPrediction

_Item = TypeVar("_Item")

#: Seconds between progress reports off and on a terminal.
_PLAIN_INTERVAL = 30.0
_LIVE_INTERVAL = 0.2


def print_json(predictions: "Iterable[TextPrediction]", file: TextIO | None = None) -> None:
    """Print one object per line as predictions arrive. Scores without names are an array."""
    for prediction in predictions:
        print(json.dumps(dataclasses.asdict(prediction), ensure_ascii=False), file=file)


def print_lines(predictions: "Iterable[TextPrediction]", file: TextIO | None = None) -> None:
    """Print label, score and text, separated by tabs, as predictions arrive."""
    for prediction in predictions:
        text = one_line(prediction.text)
        print(f"{prediction.label}\t{prediction.score:.4f}\t{text}", file=file)


def print_table(predictions: "Iterable[TextPrediction]") -> None:
    """Print all predictions in one table."""
    from rich.text import Text

    table = plain_table("label", "score", "text")
    for prediction in predictions:
        text = Text(one_line(prediction.text), overflow="ellipsis", no_wrap=True)
        table.add_row(Text(prediction.label), f"{prediction.score:.4f}", text)
    stdout().print(table)


def one_line(text: str) -> str:
    """Return the text without line breaks, tabs and control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


class Progress:
    """Progress reports on the items that pass; a context manager.

    Args:
        console: console to print on; None selects standard error.
        clock: returns seconds.
        share: returns the share of the work that has begun, 0 to 1, or None if unknown.
    """

    def __init__(
        self,
        console: "Console | None" = None,
        clock: Callable[[], float] = time.monotonic,
        share: Callable[[], float | None] = lambda: None,
    ) -> None:
        self._console = console or stderr()
        self._clock = clock
        self._share = share
        self._interval = _LIVE_INTERVAL if self._console.is_terminal else _PLAIN_INTERVAL
        self._status: Status | None = None
        self._count = 0
        self._started = self._last_report = clock()

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._status = self._console.status("")
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def track(self, items: Iterable[_Item]) -> Iterator[_Item]:
        """Yield the items, and report their number at intervals."""
        for item in items:
            self._count += 1
            now = self._clock()
            if now - self._last_report >= self._interval:
                self._last_report = now
                self._report(now - self._started)
            yield item

    def _report(self, seconds: float) -> None:
        line = (
            f"{self._count:,} texts in {duration(seconds)}, {self._count / seconds:,.0f} a second"
        )
        share = self._share()
        if share:
            left = duration(seconds * (1 - share) / share)
            line += f", {share:.0%} of the file read, about {left} left"
        if self._status is not None:
            self._status.update(line)
        else:
            self._console.print(line)
