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


def test_accepted_schema_takes_precedence(config: Config, inferred: Path) -> None:
    assert schema.current(config) == inferred
    schema.accept_schema(config)
    assert schema.current(config) == config.schema_path()


def test_schema_of_the_last_run_that_has_one_is_used(
    config: Config, inferred: Path, add_run
) -> None:
    add_run("b")  # its file is gone
    assert schema.inferred_schema(config) == inferred


def test_missing_schema_names_the_command_to_run(config: Config, metadata) -> None:
    metadata.add_node("a", "ExampleGen")
    with pytest.raises(UserError, match="bert run --to SchemaGen"):
        schema.accept_schema(config)


def test_unwritable_destination_names_the_setting(config: Config, inferred: Path) -> None:
    config.schema_path().parent.touch()
    with pytest.raises(UserError, match=r"cannot write .*set schema\.path"):
        schema.accept_schema(config)
