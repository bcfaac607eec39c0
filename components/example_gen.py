"""ExampleGen: reads labelled text from files into checked and split tf.Examples.

Reads CSV, JSON Lines, Parquet and one folder per class. Invalid rows go to a quarantine file; too
many of them stop the run. The split depends only on the text, so copies of a text are always in the
same split. Each run also reads all feedback spans.
"""

from collections.abc import Mapping, Sequence

from tfx import types
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import component_spec, standard_artifacts, standard_component_specs

from components.ingestion.driver import Driver
from components.ingestion.executor import Executor
from components.ingestion.rows import Columns, RowRules
from components.ingestion.settings import IngestionSettings
from components.ingestion.splitting import SplitWeights


class ExampleGenSpec(component_spec.ComponentSpec):
    """ExampleGen's parameters; all are part of the cache key."""

    PARAMETERS = {
        "paths": component_spec.ExecutionParameter(type=str),
        "data_format": component_spec.ExecutionParameter(type=str),
        "text_column": component_spec.ExecutionParameter(type=str),
        "label_column": component_spec.ExecutionParameter(type=str),
        "slice_columns": component_spec.ExecutionParameter(type=str),
        "labels": component_spec.ExecutionParameter(type=str),
        "max_bad_share": component_spec.ExecutionParameter(type=float),
        "max_text_bytes": component_spec.ExecutionParameter(type=int),
        "split": component_spec.ExecutionParameter(type=str),
        "quarantine_directory": component_spec.ExecutionParameter(type=str),
        "spans_directory": component_spec.ExecutionParameter(type=str),
        "cache_directory": component_spec.ExecutionParameter(type=str),
        "code_digest": component_spec.ExecutionParameter(type=str),
    }
    INPUTS: dict[str, component_spec.ChannelParameter] = {}
    OUTPUTS = {
        standard_component_specs.EXAMPLES_KEY: component_spec.ChannelParameter(
            type=standard_artifacts.Examples
        ),
    }


class ExampleGen(base_beam_component.BaseBeamComponent):
    """The ExampleGen node; create it with ``make_example_gen``."""

    SPEC_CLASS = ExampleGenSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)
    DRIVER_CLASS = Driver

    def __init__(self, settings: IngestionSettings, code_digest: str) -> None:
        """Create the node.

        Args:
            settings: what to read and how.
            code_digest: digest of the code that reads; a new digest runs the node again.
        """
        spec = ExampleGenSpec(
            examples=types.Channel(type=standard_artifacts.Examples),
            code_digest=code_digest,
            **settings.to_exec_properties(),
        )
        super().__init__(spec=spec)


def make_example_gen(
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
    code_digest: str = "",
    quarantine_directory: str = "",
    spans_directory: str = "",
    cache_directory: str = "",
) -> ExampleGen:
    """Create the ExampleGen node.

    Args:
        paths: files, folders and glob patterns; ``{SPAN}`` in a path is replaced by the latest
            span.
        data_format: auto, csv, jsonl, parquet or folders. auto derives it from the name.
        text_column: column or key of the text.
        label_column: column or key of the label.
        slice_columns: columns or keys that become further features, for sliced metrics.
        labels: the allowed labels; empty: any label.
        max_bad_share: largest accepted share of bad rows, from 0 to 1.
        max_text_bytes: longest legal text in bytes of UTF-8.
        split: positive integer weights of train, eval and test.
        code_digest: digest of the code that reads; a new digest runs the node again.
        quarantine_directory: where a failed run leaves its quarantine file; empty: ``quarantine``
            under the pipeline root.
        spans_directory: folder of feedback spans (``span-1/feedback.csv`` and so on), all of which
            are read with ``paths``; it need not exist; empty: no feedback.
        cache_directory: folder of the cache of parsed files; empty: no cache.

    Returns:
        The node, with the output ``examples``: ``Examples`` with the splits train, eval and test.

    Raises:
        UserError: a value is illegal.
    """
    settings = IngestionSettings(
        paths=tuple(paths),
        data_format=data_format,
        columns=Columns(text_column, label_column, tuple(slice_columns)),
        rules=RowRules(max_text_bytes, frozenset(labels)),
        max_bad_share=max_bad_share,
        split=SplitWeights.from_mapping(split),
        quarantine_directory=quarantine_directory,
        spans_directory=spans_directory,
        cache_directory=cache_directory,
    )
    return ExampleGen(settings, code_digest)
