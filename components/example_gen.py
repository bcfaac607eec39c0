"""ExampleGen: reads labelled text from files into checked and split tf.Examples.

Reads CSV, JSON Lines, Parquet and one folder per class. Invalid rows go to a quarantine file; too
many of them stop the run. The split depends only on the text, so copies of a text are always in the
same split. Each run also reads all feedback spans.
"""

from typing import Any

from tfx import types
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.ingestion.driver import Driver
from components.ingestion.executor import Executor
from components.ingestion.settings import IngestionSettings


class ExampleGenSpec(ComponentSpec):
    """ExampleGen's parameters; all are part of the cache key."""

    PARAMETERS = {
        "paths": ExecutionParameter(type=str),
        "data_format": ExecutionParameter(type=str),
        "text_column": ExecutionParameter(type=str),
        "label_column": ExecutionParameter(type=str),
        "slice_columns": ExecutionParameter(type=str),
        "labels": ExecutionParameter(type=str),
        "max_bad_share": ExecutionParameter(type=float),
        "max_text_bytes": ExecutionParameter(type=int),
        "split": ExecutionParameter(type=str),
        "quarantine_directory": ExecutionParameter(type=str),
        "spans_directory": ExecutionParameter(type=str),
        "cache_directory": ExecutionParameter(type=str),
        "code_digest": ExecutionParameter(type=str),
    }
    INPUTS: dict[str, ChannelParameter] = {}
    OUTPUTS = {"examples": ChannelParameter(type=standard_artifacts.Examples)}


class ExampleGen(base_beam_component.BaseBeamComponent):
    """The ExampleGen node; create it with ``make_example_gen``."""

    SPEC_CLASS = ExampleGenSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)
    DRIVER_CLASS = Driver


def make_example_gen(*, code_digest: str = "", **settings: Any) -> ExampleGen:
    """Create the ExampleGen node.

    Args:
        code_digest: digest of the code that reads; a new digest runs the node again.
        **settings: arguments of ``IngestionSettings.create``.

    Returns:
        The node, with the output ``examples``: ``Examples`` with the splits train, eval and test.

    Raises:
        UserError: a value is illegal.
    """
    spec = ExampleGenSpec(
        **IngestionSettings.create(**settings).to_exec_properties(),
        code_digest=code_digest,
        examples=types.Channel(type=standard_artifacts.Examples),
    )
    return ExampleGen(spec)
