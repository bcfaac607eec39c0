"""Settings of ExampleGen, as a checked record and as TFX execution properties."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any, Self

from components.ingestion.rows import Columns, RowRules
from components.ingestion.sources import FORMATS
from components.ingestion.splitting import SplitWeights
from modules.contract import features
from modules.contract.errors import UserError

#: Key of the output.
EXAMPLES = "examples"

#: Execution property in which the driver passes on an error: TFX records an execution as failed
#: only if its executor fails.
INPUT_ERROR = "input_error"


@dataclasses.dataclass(frozen=True)
class IngestionSettings:
    """Settings of ingestion.

    Attributes:
        paths: files, folders and glob patterns; each may contain span placeholders.
        data_format: one of ``sources.FORMATS``.
        columns: the columns to read.
        rules: the rules for the values of each row.
        max_bad_share: largest accepted share of bad rows, from 0 to 1.
        split: weights of the splits.
        quarantine_directory: where a failed run leaves its quarantine file; empty: ``quarantine``
            under the pipeline root.
        spans_directory: folder of the feedback spans, which need not exist; empty: no feedback.
        cache_directory: folder of the cache of parsed files; empty: no cache.
    """

    paths: tuple[str, ...]
    data_format: str
    columns: Columns
    rules: RowRules
    max_bad_share: float
    split: SplitWeights
    quarantine_directory: str = ""
    spans_directory: str = ""
    cache_directory: str = ""

    @classmethod
    def create(
        cls,
        *,
        paths: Sequence[str],
        data_format: str = "auto",
        text_column: str = "text",
        label_column: str = "label",
        slice_columns: Sequence[str] = (),
        labels: Sequence[str] = (),
        max_bad_share: float = 0.01,
        max_text_bytes: int = 1_000_000,
        split: Mapping[str, int],
        **directories: str,
    ) -> Self:
        """Create the settings from configuration values.

        Args:
            paths: see ``IngestionSettings``.
            data_format: auto, csv, jsonl, parquet or folders. auto derives it from the name.
            text_column: column or key of the text.
            label_column: column or key of the label.
            slice_columns: columns or keys that become further features, for sliced metrics.
            labels: the allowed labels; empty: any label.
            max_bad_share: see ``IngestionSettings``.
            max_text_bytes: longest legal text in bytes of UTF-8.
            split: positive integer weights of train, eval and test.
            **directories: see ``IngestionSettings``.

        Raises:
            UserError: a value is illegal.
        """
        return cls(
            paths=tuple(paths),
            data_format=data_format,
            columns=Columns(text_column, label_column, tuple(slice_columns)),
            rules=RowRules(max_text_bytes, frozenset(labels)),
            max_bad_share=max_bad_share,
            split=SplitWeights.from_mapping(split),
            **directories,
        )

    def __post_init__(self) -> None:
        """Check the values that come from the user.

        Raises:
            UserError: a value is illegal; the message names the key and what is legal.
        """
        if not self.paths or not all(self.paths):
            raise UserError(
                "data.path is empty; set it to a CSV, JSONL or Parquet file or a folder"
            )
        if self.data_format not in FORMATS:
            legal = ", ".join(FORMATS)
            raise UserError(f"data.format must be one of {legal}; got {self.data_format!r}")
        if not 0 <= self.max_bad_share <= 1:
            raise UserError(f"data.max_bad_share must be from 0 to 1; got {self.max_bad_share}")
        if self.rules.max_text_bytes < 1:
            raise UserError(
                f"data.max_text_bytes must be 1 or more; got {self.rules.max_text_bytes}"
            )
        self._check_columns()

    def _check_columns(self) -> None:
        text, label, slices = self.columns.text, self.columns.label, self.columns.slices
        if text == label:
            raise UserError(
                f"data.text_column and data.label_column must differ; both are {text!r}"
            )
        taken = {text, label, features.TEXT, features.LABEL} & set(slices)
        if taken:
            raise UserError(
                f"data.slice_columns must not contain {sorted(taken)[0]!r}, which is already the "
                "text or the label"
            )

    def to_exec_properties(self) -> dict[str, Any]:
        """Return the settings as TFX execution properties: strings, integers and floats."""
        return {
            "paths": self.encoded_paths(self.paths),
            "data_format": self.data_format,
            "text_column": self.columns.text,
            "label_column": self.columns.label,
            "slice_columns": json.dumps(self.columns.slices),
            "labels": json.dumps(sorted(self.rules.labels)),
            "max_text_bytes": self.rules.max_text_bytes,
            "max_bad_share": float(self.max_bad_share),
            "split": json.dumps(dict(zip(features.SPLITS, self.split.weights, strict=True))),
            "quarantine_directory": self.quarantine_directory,
            "spans_directory": self.spans_directory,
            "cache_directory": self.cache_directory,
        }

    @staticmethod
    def encoded_paths(paths: Sequence[str]) -> str:
        """Return the execution property ``paths``."""
        return json.dumps(list(paths))

    @classmethod
    def from_exec_properties(cls, properties: Mapping[str, Any]) -> Self:
        """Create the settings from the output of ``to_exec_properties``.

        Raises:
            UserError: a value is illegal.
        """
        return cls.create(
            paths=json.loads(properties["paths"]),
            data_format=properties["data_format"],
            text_column=properties["text_column"],
            label_column=properties["label_column"],
            slice_columns=json.loads(properties["slice_columns"]),
            labels=json.loads(properties["labels"]),
            max_text_bytes=int(properties["max_text_bytes"]),
            max_bad_share=float(properties["max_bad_share"]),
            split=json.loads(properties["split"]),
            quarantine_directory=properties["quarantine_directory"],
            spans_directory=properties.get("spans_directory", ""),
            cache_directory=properties.get("cache_directory", ""),
        )
