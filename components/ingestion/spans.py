"""TFX's spans: numbered deliveries of data, of which the latest is read."""

from collections.abc import Sequence

from tfx.components.example_gen import utils
from tfx.proto import example_gen_pb2

from components.ingestion.sources import check_name
from modules.contract.errors import DataError


def resolve_spans(paths: Sequence[str]) -> tuple[list[str], int, int | None]:
    """Replace ``{SPAN}``, ``{VERSION}``, ``{YYYY}``, ``{MM}`` and ``{DD}`` by the latest values.

    ``spans/span-{SPAN}/*.csv`` reads the folder with the highest number; ``{SPAN:2}`` is a number
    of two digits. The span of a date is its number of days since 1970-01-01. Paths without
    placeholders are span 0.

    Args:
        paths: files, folders and glob patterns.

    Returns:
        The paths to read, the span, and the version or None.

    Raises:
        DataError: there is no span, a span is not a number, or the paths differ in their latest
            span.
    """
    resolved: list[str] = []
    latest: dict[str, tuple[int, int | None]] = {}
    for path in paths:
        check_name(path)
        split = example_gen_pb2.Input.Split(name="data", pattern=path)
        try:
            if not any(utils.verify_split_pattern_specs(split)):
                # TFX would list the files, through file systems that may not support the path.
                resolved.append(path)
                continue
            _, span, version = utils.calculate_splits_fingerprint_span_and_version("", [split])
        except ValueError as error:
            raise DataError(f"cannot find the latest span of data.path {path}: {error}") from None
        resolved.append(split.pattern)
        latest[path] = (span, version)
    if not latest:
        return resolved, 0, None
    if len(set(latest.values())) > 1:
        found = ", ".join(f"{path}: span {span}" for path, (span, _) in latest.items())
        raise DataError(f"the paths of data.path must have the same latest span; found {found}")
    span, version = next(iter(latest.values()))
    return resolved, span, version
