"""Refuses data that ExampleGen would refuse at once, before a run spends 10 s on imports."""

from pathlib import Path

from components.ingestion import files
from components.ingestion.rows import Columns
from components.ingestion.sources import find_sources
from pipeline.config import Config


def check_data(config: Config) -> None:
    """Find the files of ``data.path`` and read the first row of each.

    Files elsewhere (``gs://``) and spans, which ExampleGen alone can tell, are left to it; so are
    feedback spans that ``data.path`` names, too, for they need not have every column.

    Args:
        config: with ``[data]``.

    Raises:
        DataError: nothing there, a format that cannot be told, a column that is not there, or a
            file that cannot be read.
    """
    arguments = config.example_gen_arguments()
    paths = [path for path in arguments["paths"] if not files.is_remote(path) and "{" not in path]
    if not paths:
        return
    columns = Columns(
        arguments["text_column"], arguments["label_column"], tuple(arguments["slice_columns"])
    )
    for source in find_sources(paths, arguments["data_format"]):
        if not Path(source.path).is_relative_to(arguments["spans_directory"]):
            next(source.read(columns, arguments["max_text_bytes"]), None)
