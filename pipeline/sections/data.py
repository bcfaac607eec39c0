"""Sections about the data: source, split, schema and example checks."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from pipeline.sections.section import Section

DataFormat = Literal["auto", "csv", "jsonl", "parquet", "folders"]


class SplitSection(Section):
    """Shares of the three splits."""

    train: int = Field(8, ge=1, description="Share of examples to train on.")
    eval: int = Field(1, ge=1, description="Share for early stopping and for tuning.")
    test: int = Field(1, ge=1, description="Share that only the Evaluator sees.")


class DataSection(Section):
    """Where the labelled text is and what it looks like."""

    path: str | tuple[str, ...] = Field(
        "data/sample/reviews.csv",
        description="File, folder or glob pattern; a list reads several.",
    )
    format: DataFormat = Field("auto", description='"auto" goes by the name\'s ending.')
    text_column: str = Field("text", min_length=1, description="Column that holds the text.")
    label_column: str = Field("label", min_length=1, description="Column that holds the label.")
    slice_columns: tuple[str, ...] = Field(
        (), description="Columns whose values the Evaluator reports on one by one."
    )
    labels: tuple[str, ...] = Field(
        (), description="The only labels allowed; empty learns them from the data."
    )
    max_bad_share: float = Field(
        0.01, ge=0, le=1, description="Share of unreadable rows above which the run stops."
    )
    max_text_bytes: int = Field(
        1_000_000, ge=1, description="A longer text is quarantined as unreadable."
    )
    parse_cache: bool = Field(
        True,
        description="Keep parsed files under <pipeline.root>/ExampleGen-cache: the next run parses "
        "only what is new.",
    )
    split: SplitSection = SplitSection()

    @property
    def paths(self) -> tuple[str, ...]:
        """``path`` as a tuple, however it was written."""
        return (self.path,) if isinstance(self.path, str) else self.path

    @field_validator("path")
    @classmethod
    def _check_path(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if not value or (isinstance(value, tuple) and "" in value):
            raise ValueError("legal is a path or a list of paths, none of them empty")
        return value

    @model_validator(mode="after")
    def _check_columns(self) -> "DataSection":
        columns = (self.text_column, self.label_column, *self.slice_columns)
        twice = sorted({column for column in columns if columns.count(column) > 1})
        if twice:
            raise ValueError(
                f"text_column, label_column and slice_columns must differ, received {twice[0]!r} "
                "twice"
            )
        return self


class SchemaSection(Section):
    """The curated schema."""

    path: str = Field(
        "",
        description="Used when the file exists (`bert schema accept` writes it); "
        "empty is <pipeline.root>/schema/schema.pbtxt.",
    )


class ExampleValidatorSection(Section):
    """What stops a run before training."""

    blocking_severity: Literal["error", "warning", "none"] = Field(
        "error", description="Anomalies of this severity or worse stop the run."
    )
