"""Feedback spans: numbered deliveries of corrected labels, all of which are read with the data.

::

    <spans directory>/span-1/feedback.csv
    <spans directory>/span-2/feedback.csv

Standard library only.
"""

from collections.abc import Sequence

from components.ingestion import files
from components.ingestion.sources import CSV, Source
from modules.contract.errors import DataError
from modules.contract.feedback_spans import DATA_FILE, span_folder, span_number


def find_spans(directory: str) -> list[int]:
    """Return the numbers of the existing spans, ascending.

    Args:
        directory: a folder or URI; one that does not exist holds no spans. Entries not named
            ``span-NUMBER`` are ignored.

    Raises:
        DataError: the folder cannot be listed.
    """
    try:
        names = files.list_folder(directory)
    except FileNotFoundError:
        return []
    except NotADirectoryError:
        raise DataError(
            f"feedback.spans must be a folder of spans; {directory} is a file"
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(
            f"the feedback spans in {directory} cannot be listed: {reason}; set feedback.spans to "
            "a readable folder"
        ) from None
    return sorted(number for name in names if (number := span_number(name)))


def span_sources(directory: str, numbers: Sequence[int]) -> list[Source]:
    """Return the sources of the spans, in the order of their numbers.

    Raises:
        DataError: a span lacks its file, which an export always writes.
    """
    sources = []
    for number in sorted(numbers):
        folder = files.join(directory, span_folder(number))
        path = files.join(folder, DATA_FILE)
        if not files.exists(path):
            raise DataError(
                f"the feedback span {folder} has no {DATA_FILE}; restore the file, or move the "
                f"folder out of {directory}"
            )
        sources.append(Source(path, CSV, number))
    return sources
