"""The curated schema: the one SchemaGen inferred, accepted by a person from then on."""

from pathlib import Path

from modules.contract.atomic_file import write_text
from modules.contract.errors import UserError
from pipeline.config import Config
from runners.lineage.runs import read_runs

_FILE = "schema.pbtxt"


def inferred_schema(config: Config) -> Path:
    """The schema of the last run that has one.

    Raises:
        UserError: no run has inferred a schema.
    """
    for run in read_runs(config, with_outputs=["SchemaGen"]):
        artifact = run.artifact("SchemaGen", "Schema")
        if artifact and (Path(artifact.uri) / _FILE).is_file():
            return Path(artifact.uri) / _FILE
    raise UserError("no run has inferred a schema yet; `bert run --to SchemaGen` does")


def accept(config: Config) -> tuple[Path, Path]:
    """Copy the inferred schema to where later runs import it from.

    Returns:
        Source and destination.

    Raises:
        UserError: there is no inferred schema, or the destination cannot be written.
    """
    source, destination = inferred_schema(config), config.schema_path()
    try:
        write_text(destination, source.read_text("utf-8"))
    except OSError as error:
        raise UserError(
            f"{destination} cannot be written ({error.strerror}); set schema.path"
        ) from error
    return source, destination


def current(config: Config) -> Path:
    """The curated schema when there is one, else the inferred one.

    Raises:
        UserError: there is neither.
    """
    curated = config.schema_path()
    return curated if curated.is_file() else inferred_schema(config)
