"""Settings of the data: source, split, schema and example checks."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from pipeline.sections.section import Section

DataFormat = Literal["auto", "csv", "jsonl", "parquet", "folders"]


class SplitSection(Section):
    """Relative sizes of the three splits."""

    train: int = Field(8, ge=1, description="Share of the examples for training.")
    eval: int = Field(1, ge=1, description="Share for early stopping and tuning.")
    test: int = Field(1, ge=1, description="Share that only the Evaluator sees.")


class DataSection(Section):
    """Location and format of the labelled text."""

    path: str | tuple[str, ...] = Field(
        "data/sample/reviews.csv",
        description="File, folder or glob pattern; a list reads several.",
    )
    format: DataFormat = Field("auto", description='"auto" decides by the file extension.')
    text_column: str = Field("text", min_length=1, description="Column that holds the text.")
    label_column: str = Field("label", min_length=1, description="Column that holds the label.")
    slice_columns: tuple[str, ...] = Field(
        (), description="Columns for whose values the Evaluator computes separate metrics."
    )
    labels: tuple[str, ...] = Field(
        (), description="The allowed labels; if empty, those found in the data."
    )
    max_bad_share: float = Field(
        0.01, ge=0, le=1, description="Largest share of unreadable rows before the run stops."
    )
    max_text_bytes: int = Field(
        1_000_000, ge=1, description="Longer texts are quarantined as unreadable."
    )
    parse_cache: bool = Field(
        True,
        description="Keep parsed files under <pipeline.root>/ExampleGen-cache, so that the next "
        "run parses only new files.",
    )
    split: SplitSection = SplitSection()

    @property
    def paths(self) -> tuple[str, ...]:
        """``path`` as a tuple, also if it was given as a string."""
        return (self.path,) if isinstance(self.path, str) else self.path

    @field_validator("path")
    @classmethod
    def _check_path(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if not value or (isinstance(value, tuple) and "" in value):
            raise ValueError("must be a path or a list of paths, none of them empty")
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
        description="Schema file, used if it exists (`bert schema accept` writes it); "
        "if empty, <pipeline.root>/schema/schema.pbtxt.",
    )


class ExampleValidatorSection(Section):
    """Data checks that can stop a run before training."""

    blocking_severity: Literal["error", "warning", "none"] = Field(
        "error", description="Anomalies of this severity or worse stop the run."
    )
