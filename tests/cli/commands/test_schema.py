from pathlib import Path

import pytest

from cli.commands import schema
from modules.contract.errors import UserError
from pipeline.config import Config


@pytest.fixture
def inferred(config: Config, add_run, tmp_path: Path) -> Path:
    add_run("a")
    path = tmp_path / "evaluation" / "a" / "schema.pbtxt"
    path.write_text('feature { name: "text" }\n')
    return path


def test_accept_copies_the_inferred_schema(config: Config, inferred: Path) -> None:
    assert config.curated_schema_file() is None
    source, destination = schema.accept_schema(config)
    assert source == inferred
    assert destination == config.schema_path()
    assert destination.read_text() == inferred.read_text()
    assert config.curated_schema_file() == str(destination)


def test_accepted_schema_is_shown_before_the_inferred_one(config: Config, inferred: Path) -> None:
    assert schema.current(config) == inferred
    schema.accept_schema(config)
    assert schema.current(config) == config.schema_path()


def test_last_run_with_a_schema_counts(config: Config, inferred: Path, add_run) -> None:
    add_run("b")  # its file is gone
    assert schema.inferred_schema(config) == inferred


def test_no_schema_yet(config: Config, metadata) -> None:
    metadata.add_node("a", "ExampleGen")
    with pytest.raises(UserError, match="bert run --to SchemaGen"):
        schema.accept_schema(config)


def test_destination_that_cannot_be_written(config: Config, inferred: Path) -> None:
    config.schema_path().parent.touch()
    with pytest.raises(UserError, match=r"cannot be written .*set schema\.path"):
        schema.accept_schema(config)
