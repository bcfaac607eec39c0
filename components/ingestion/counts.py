"""Counts of a whole run, and the check that its data can train a classifier.

Standard library only.
"""

import collections
import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from components.ingestion.report import IngestionReport
from components.ingestion.resolution import RowOutcome
from components.ingestion.rows import excerpt
from modules.contract import features
from modules.contract.errors import DataError

_SHOWN_LABELS = 5
_SHOWN_CHARACTERS = 80


@dataclasses.dataclass
class Counts:
    """Counts of a whole run.

    Attributes:
        report: counts of the rows that were read.
        labels: split -> label -> number of examples.
        feedback: rows of feedback by ``resolution.RowOutcome``.
        duplicates: examples beyond the first of each text.
        conflicting: texts with more than one label.
    """

    report: IngestionReport
    labels: dict[str, collections.Counter[str]]
    feedback: collections.Counter[str]
    duplicates: int = 0
    conflicting: int = 0

    @classmethod
    def of(cls, report: IngestionReport, shards: Iterable[Mapping[str, Any]]) -> "Counts":
        """Return the sum of the counts of all shards.

        Args:
            report: counts of the rows that were read.
            shards: the JSON reports of ``transforms.WriteShard``.
        """
        labels = {split: collections.Counter[str]() for split in features.SPLITS}
        counts = cls(report, labels, collections.Counter())
        for shard in shards:
            counts.labels[shard["split"]].update(shard["labels"])
            counts.feedback.update(shard["feedback"])
            counts.duplicates += shard["duplicates"]
            counts.conflicting += shard["conflicting"]
        return counts

    @property
    def examples(self) -> int:
        """Number of examples that were written."""
        return sum(labels.total() for labels in self.labels.values())

    def numbers(self) -> dict[str, int]:
        """Return the artifact's integer properties."""
        return {
            "examples": self.examples,
            "quarantined": self.report.quarantined,
            "duplicate_texts": self.duplicates,
            "conflicting_texts": self.conflicting,
        }

    def refuse_unfit(self) -> None:
        """Refuse data that no classifier can be trained on, before anything else runs.

        Raises:
            DataError: there is only one label, a split is empty, or a label has no example in the
                train split.
            RuntimeError: rows were lost between reading and writing.
        """
        per_split = {split: labels.total() for split, labels in self.labels.items()}
        unwritten = self.feedback.total() - self.feedback[RowOutcome.ADDED]
        if (
            self.feedback.total() != self.report.feedback
            or self.examples + unwritten != self.report.examples
        ):
            raise RuntimeError(
                f"rows were lost: read {self.report.examples} examples, {self.report.feedback} of "
                f"them feedback, but wrote {per_split}, feedback {dict(self.feedback)}"
            )
        whole = sum(self.labels.values(), collections.Counter[str]())
        if len(whole) == 1:
            raise DataError(
                f"all {whole.total()} examples have the label {_shown(*whole)}; a classifier "
                "needs at least two labels. Is data.label_column the right one?"
            )
        empty = [split for split, count in per_split.items() if not count]
        if empty:
            raise DataError(
                f"{whole.total()} examples are too few: the split {empty[0]!r} is empty "
                f"({per_split}). Add examples or raise data.split.{empty[0]}"
            )
        unseen = sorted(whole.keys() - self.labels[features.TRAIN_SPLIT].keys())
        if unseen:
            shown = ", ".join(
                f"{_shown(label)} ({whole[label]})" for label in unseen[:_SHOWN_LABELS]
            )
            raise DataError(
                f"{len(unseen)} of {len(whole)} labels have no example in the train split, so they "
                f"cannot be learned: {shown}. Add examples of them, or list the labels to keep in "
                "data.labels. Is data.label_column the right one?"
            )


def _shown(label: str) -> str:
    return repr(excerpt(label)[:_SHOWN_CHARACTERS])
