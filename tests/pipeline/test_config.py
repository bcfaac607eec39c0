import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from modules.contract.errors import UserError
from modules.contract.hparams import HParams, TextSettings, TrainingSettings
from pipeline.config import Config, load, mask_password


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    path = tmp_path / "my.toml"
    path.write_text('[trainer]\nepochs = 5\nseed = 1\n[data]\npath = ["a.csv", "b.csv"]\n')
    return path


def test_later_sources_override_earlier_ones(toml: Path) -> None:
    environ = {"BERT__TRAINER__EPOCHS": "6", "BERT__TRAINER__SEED": "2"}
    config = load(toml, ["trainer.epochs=7"], environ)
    assert (config.trainer.epochs, config.trainer.seed) == (7, 2)
    assert load(toml, [], environ).trainer.epochs == 6
    assert load(toml, [], {}).trainer.epochs == 5
    assert load(None, [], {}).trainer.epochs == HParams.epochs


def test_source_keeps_other_keys_of_the_section(toml: Path) -> None:
    config = load(toml, ["trainer.batch_size=4"], {})
    assert (config.trainer.epochs, config.trainer.batch_size) == (5, 4)
    assert config.trainer.max_length == TextSettings.max_length


def test_origin_names_the_source_of_the_effective_value(toml: Path) -> None:
    config = load(toml, ["data.text_column=body"], {"BERT__TRAINER__SEED": "2"})
    assert config.origin("trainer.epochs") == f"{toml}: trainer.epochs"
    assert config.origin("trainer.seed") == "BERT__TRAINER__SEED"
    assert config.origin("data.text_column") == "--set data.text_column"
    assert config.origin("trainer.dropout") == "default"


@pytest.mark.parametrize(
    ("text", "value"),
    [("3", 3), ("true", True), ("1e-4", 1e-4), ('["a", "b"]', ["a", "b"]), ("head", "head")],
)
def test_set_values_are_parsed_as_toml_or_kept_as_text(text: str, value: object) -> None:
    key = {int: "epochs", bool: "xla", float: "learning_rate", str: "truncation"}.get(type(value))
    if key is None:
        assert list(load(None, [f"data.slice_columns={text}"], {}).data.slice_columns) == value
    else:
        assert getattr(load(None, [f"trainer.{key}={text}"], {}).trainer, key) == value


def test_numeric_text_stays_text_in_string_keys() -> None:
    config = load(None, ["data.text_column=01", "data.labels=[0, 1]", "data.label_column=2"], {})
    assert config.data.text_column == "01"
    assert config.data.label_column == "2"
    assert config.data.labels == ("0", "1")


def test_constructor_does_not_read_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BERT__TRAINER__EPOCHS", "9")
    assert Config().trainer.epochs == HParams.epochs
    assert load().trainer.epochs == 9


def test_sections_are_frozen() -> None:
    config = Config()
    with pytest.raises(ValidationError):
        config.trainer.epochs = 1  # type: ignore[misc]
    with pytest.raises(ValidationError):
        config.trainer = config.trainer  # type: ignore[misc]


@pytest.mark.parametrize(
    ("assignment", "nearest"),
    [
        ("trainer.epoch=3", "trainer.epochs"),
        ("epochs=3", "trainer.epochs"),
        ("train.max_length=3", "trainer.max_length"),
        ("Trainer.Epochs=3", "trainer.epochs"),
        ("data.split.dev=1", "data.split"),
    ],
)
def test_unknown_key_suggests_the_nearest(assignment: str, nearest: str) -> None:
    key = assignment.partition("=")[0]
    with pytest.raises(UserError) as caught:
        load(None, [assignment], {})
    assert f"unknown config key {key} (--set {key}); did you mean {nearest}" in str(caught.value)


def test_unknown_key_in_a_file_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_text("[trainer]\nlearning_rte = 1\n")
    with pytest.raises(UserError, match=r"my\.toml: .*did you mean trainer\.learning_rate\?"):
        load(path, [], {})


def test_unknown_section_in_a_file_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_text("[trainr]\nepochs = 1\n")
    with pytest.raises(UserError, match=r"unknown config key .*did you mean trainer"):
        load(path, [], {})


def test_unknown_environment_variable_is_rejected() -> None:
    with pytest.raises(
        UserError, match=r"\(BERT__TRAINER__EPOCS\); did you mean trainer\.epochs\?"
    ):
        load(None, [], {"BERT__TRAINER__EPOCS": "3"})
    assert load(None, [], {"BERT_REAL_DATA": "x", "BERTHA": "y"}) == Config()


@pytest.mark.parametrize(
    ("assignment", "allowed", "received"),
    [
        ("trainer.max_length=4", "a whole number from 8 to 512", "4"),
        ("trainer.max_length=513", "a whole number from 8 to 512", "513"),
        ("trainer.epochs=2.5", "a whole number from 0 to 1000", "2.5"),
        ("trainer.epochs=many", "a whole number from 0 to 1000", "'many'"),
        ("trainer.xla=maybe", "true or false", "'maybe'"),
        ("trainer.truncation=mid", '"head", "tail" or "head+tail"', "'mid'"),
        ("data.split.train=0", "a whole number from 1", "0"),
        ("evaluator.margin=2", "a number from -1 to 1", "2"),
        ("evaluator.confidence=1", "a number from 0.5 to 0.999", "1"),
        ("evaluator.length_slices=[64,16]", "increasing whole numbers from 1", r"[64, 16]"),
        ("data.path=[]", "a path or a list of paths", "[]"),
        ("pipeline.name=7up", "a letter, then letters", "'7up'"),
    ],
)
def test_bad_value_is_reported_in_one_line(assignment: str, allowed: str, received: str) -> None:
    key = assignment.partition("=")[0]
    with pytest.raises(UserError) as caught:
        load(None, [assignment], {})
    message = str(caught.value)
    assert message.startswith(f"{key}: must be ")
    assert allowed in message
    assert f"received {received}" in message
    assert f"(--set {key})" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "assignment",
    [
        "trainer",
        "trainer=3",
        "trainer={epochs=3}",
        "trainer.epochs.more=3",
        "=3",
        "tuner.search_space.lr={min=1, max=2}",
    ],
)
def test_malformed_assignment_raises_user_error(assignment: str) -> None:
    with pytest.raises(UserError):
        load(None, [assignment], {})


def test_section_that_is_not_a_table_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_text("trainer = 3\n")
    with pytest.raises(UserError, match=r"\[trainer\] is a section"):
        load(path, [], {})


def test_columns_must_differ() -> None:
    with pytest.raises(UserError, match=r"\[data\] .*'text' twice"):
        load(None, ["data.label_column=text"], {})


def test_floor_on_a_column_without_slices_is_rejected() -> None:
    floors = 'evaluator.floors=[{metric="accuracy", min=0.5, slice="domain=films"}]'
    with pytest.raises(UserError, match="domain=films"):
        load(None, [floors], {})
    config = load(None, [floors, 'data.slice_columns=["domain"]'], {})
    assert config.evaluator.floors[0].slice == "domain=films"


def test_missing_file_error_lists_the_bundled_configs() -> None:
    with pytest.raises(UserError, match=r"imdb, newsgroups.*did you mean imdb\?"):
        load("imbd", [], {})


def test_invalid_toml_error_names_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_text("[trainer\n")
    with pytest.raises(UserError, match=r"my\.toml is not a TOML file: .*line 1"):
        load(path, [], {})


@pytest.mark.parametrize("name", ["imdb", "newsgroups"])
def test_bundled_config_loads_by_name(name: str) -> None:
    config = load(name, [], {})
    assert config.pipeline.name == name
    assert config.origin("pipeline.name") == f"{name}.toml: pipeline.name"
    assert config.push_directory().endswith(f"serving_models/{name}")


def test_paths_are_relative_to_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = Config()
    assert config.pipeline_root() == str(tmp_path / "pipeline_root")
    assert config.push_directory() == str(tmp_path / "serving_models" / "bert")
    assert config.metadata_url() == f"sqlite:///{tmp_path}/pipeline_root/metadata.sqlite"
    assert config.example_gen_arguments()["paths"] == [str(tmp_path / "data/sample/reviews.csv")]
    assert load(None, ["pipeline.root=gs://bucket/x"], {}).pipeline_root() == "gs://bucket/x"


def test_curated_schema_is_used_once_it_exists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = Config()
    assert config.curated_schema_file() is None
    config.schema_path().parent.mkdir(parents=True)
    config.schema_path().write_text("")
    assert config.curated_schema_file() == str(tmp_path / "pipeline_root/schema/schema.pbtxt")


def test_records_hold_the_trainer_values() -> None:
    config = load(None, ["trainer.dropout=0.3", "trainer.max_length=64", "trainer.seed=5"], {})
    assert config.hparams() == HParams(dropout=0.3)
    assert config.text_settings() == TextSettings(max_length=64)
    assert config.training_settings() == TrainingSettings(seed=5)
    assert config.training_settings(code_digest="x").code_digest == "x"
    assert HParams.from_json(config.hparams().to_json()) == config.hparams()


def test_tuner_settings_hold_the_search_space() -> None:
    config = load(None, ["tuner.search_space.epochs={values=[1,2]}", "tuner.max_trials=3"], {})
    settings = config.tuner_settings()
    assert settings.max_trials == 3
    assert settings.search_space == {"epochs": {"values": [1, 2]}}


def test_example_gen_and_beam_arguments_follow_the_config() -> None:
    config = load(None, ["data.split.train=6", 'beam.args=["--x=1"]'], {})
    arguments = config.example_gen_arguments()
    assert arguments["split"] == {"train": 6, "eval": 1, "test": 1}
    assert arguments["data_format"] == "auto"
    assert arguments["spans_directory"] == config.spans_directory()
    assert arguments["cache_directory"] == f"{config.pipeline_root()}/ExampleGen-cache"
    off = load(None, ["data.parse_cache=false", "pipeline.root=gs://bucket/x"], {})
    assert off.example_gen_arguments()["cache_directory"] == ""
    assert off.example_gen_arguments()["spans_directory"] == "gs://bucket/x/feedback"
    assert config.beam_arguments()[0].endswith("fn_api_runner.FnApiRunner")
    assert config.beam_arguments()[1:] == ["--sdk_container_image=none", "--x=1"]


def test_config_survives_serialisation() -> None:
    config = load("newsgroups", ['data.slice_columns=["part"]'], {})
    sent = config.model_dump(mode="json")
    assert Config.model_validate(sent).model_dump() == config.model_dump()


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("mysql://u:secret@host:3306/db", "mysql://u:***@host:3306/db"),
        ("mysql://u:s%40t@host/db", "mysql://u:***@host/db"),
        ("mysql://u@host/db", "mysql://u@host/db"),
        ("sqlite:///m.db", "sqlite:///m.db"),
        ("", ""),
    ],
)
def test_password_is_masked(url: str, masked: str) -> None:
    assert mask_password(url) == masked
    assert load(None, [f"metadata.url={url}"], {}).to_dict()["metadata"]["url"] == masked


def test_error_about_a_url_hides_its_password() -> None:
    with pytest.raises(UserError, match=r"metadata\.url: must be") as caught:
        load(None, ["metadata.url=mysq://u:secret@host/db"], {})
    assert "secret" not in str(caught.value)


def test_import_raises_no_warnings() -> None:
    command = [sys.executable, "-W", "error", "-c", "import pipeline.config"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (["beam.runner=flink"], "needs --flink_master or --job_endpoint"),
        (["beam.runner=spark"], "needs --spark_master_url or --job_endpoint"),
        (
            ["beam.runner=dataflow", 'beam.args=["--project=p"]'],
            "needs --project, --region|--region",
        ),
        (["beam.runner=samza"], "beam.runner: must be"),
        (['beam.args=["streaming"]'], "must be options of the form --name=value"),
        (['beam.args=["--runner=x"]'], "must not set --runner; set beam.runner"),
    ],
)
def test_beam_runner_without_required_options_is_rejected(
    assignments: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        load(None, assignments, {})


def test_beam_workers_run_the_image() -> None:
    settings = ["beam.runner=FlinkRunner", 'beam.args=["--flink_master=flink:8081"]']
    config = load(None, [*settings, "image.name=registry/bert:1"], {})
    assert config.beam_arguments() == [
        "--runner=FlinkRunner",
        "--sdk_container_image=registry/bert:1",
        "--flink_master=flink:8081",
    ]
