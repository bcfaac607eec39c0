"""The input of one run: the files of ``data.path`` and the feedback spans."""

import dataclasses
from collections.abc import Sequence

from components.ingestion import files
from components.ingestion.feedback_spans import find_spans, span_sources
from components.ingestion.settings import IngestionSettings
from components.ingestion.sources import Source, find_sources
from components.ingestion.spans import resolve_spans

#: Execution property set by the driver and custom property of the artifact: JSON list of numbers.
FEEDBACK_SPANS = "feedback_spans"


@dataclasses.dataclass(frozen=True)
class InputData:
    """The input of one run.

    Attributes:
        paths: paths of the base data, with the latest span filled in.
        sources: the base data's sources, then the feedback spans' by number.
        span: the highest span number of ``data.path`` and the feedback; 0 if there are no spans.
        version: the version of the span of ``data.path``, or None.
        feedback_spans: numbers of the feedback spans, ascending.
    """

    paths: tuple[str, ...]
    sources: tuple[Source, ...]
    span: int
    version: int | None
    feedback_spans: tuple[int, ...]


def find_input(
    settings: IngestionSettings, feedback_spans: Sequence[int] | None = None
) -> InputData:
    """Find the input of a run.

    Args:
        settings: paths, format and folder of the feedback spans.
        feedback_spans: numbers of the spans to read; None: all that exist.

    Raises:
        DataError: there is no data, its format is unknown, or a span is broken.
    """
    paths, span, version = resolve_spans(settings.paths)
    if feedback_spans is None:
        directory = settings.spans_directory
        feedback_spans = find_spans(directory) if directory else []
    feedback = span_sources(settings.spans_directory, feedback_spans)
    # A feedback span that data.path also matches still counts as feedback.
    taken = {files.one_name(source.path) for source in feedback}
    base = [
        source
        for source in find_sources(paths, settings.data_format)
        if files.one_name(source.path) not in taken
    ]
    return InputData(
        paths=tuple(paths),
        sources=(*base, *feedback),
        span=max([span, *feedback_spans]),
        version=version,
        feedback_spans=tuple(sorted(feedback_spans)),
    )
