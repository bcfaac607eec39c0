"""``bert serve``: options, refusals, and a real server."""

import dataclasses
import json
import re
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer

from cli import main as cli
from cli.commands.server_options import HELP
from cli.screens.run_report import next_commands
from cli.screens.server import try_commands
from serving.client import ModelMetadata, SignatureMetadata, TensorMetadata
from serving.server import model_server
from serving.server.settings import ServerSettings
from tests.serving.bert_server import bert_serve, environment, write_classifier

Serve = Callable[..., int]


@pytest.fixture
def serve() -> Serve:
    """Return a function that runs ``bert serve`` in this process and returns its exit code."""

    def run(*arguments: str) -> int:
        with pytest.raises(SystemExit) as caught:
            cli.main(["serve", *arguments])
        return int(caught.value.code or 0)

    return run


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[ServerSettings]:
    """Collect the settings of servers instead of starting them."""
    settings: list[ServerSettings] = []

    def make(given: ServerSettings) -> Any:
        settings.append(given)
        return SimpleNamespace(serve=lambda **callbacks: 0)

    monkeypatch.setattr(model_server, "ModelServer", make)
    return settings


def push(base: Path, version: int = 1) -> None:
    (base / str(version)).mkdir(parents=True)
    (base / str(version) / "saved_model.pb").touch()


def test_every_setting_is_an_option() -> None:
    assert set(HELP) == {field.name for field in dataclasses.fields(ServerSettings)}


def test_help_shows_the_settings_defaults(
    serve: Serve, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert serve("--help") == 0
    shown = " ".join(capsys.readouterr().out.split())
    for field in dataclasses.fields(ServerSettings):
        assert f"--{field.name} " in shown
    assert "[default: 8500]" in shown
    assert "[default: true]" in shown


def test_pushed_model_is_served(
    serve: Serve, started: list[ServerSettings], tmp_path: Path
) -> None:
    push(tmp_path / "models")
    assert serve("--set", f"pusher.base_directory={tmp_path}/models") == 0
    assert started == [ServerSettings(model_base_path=f"{tmp_path}/models")]


def test_flags_are_named_as_in_tensorflow_serving(
    serve: Serve, started: list[ServerSettings], tmp_path: Path
) -> None:
    assert serve(
        "--port=1", "--rest_api_port", "2", "--model_name=reviews", f"--model_base_path={tmp_path}",
        "--file_system_poll_wait_seconds=0.5", "--enable_batching=false",
        "--enable_model_warmup", "true", "--load_retry_interval_micros=-1",
    ) == 0  # fmt: skip
    [settings] = started
    assert settings == ServerSettings(
        port=1,
        rest_api_port=2,
        model_name="reviews",
        model_base_path=str(tmp_path),
        file_system_poll_wait_seconds=0.5,
        enable_batching=False,
        load_retry_interval_micros=-1,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "pusher.base_directory=nowhere"], r"no model is pushed to .*`bert run`"),
        (["--model_base_path=x", "--port=70000"], "port must be 0 to 65535"),
        (["--model_base_path=x", "--enable_batching=perhaps"], "true or false, received 'perhaps'"),
        (["--model_config_file=missing"], "missing: No such file"),
        (["--model_config_file=bad"], "bad is not a ModelServerConfig"),
        (["--model_base_path=x", "--monitoring_config_file=bad"], "bad"),
        (["--model_base_path=x", "--batching_parameters_file=bad"], "bad"),
    ],
)
def test_refusal_is_one_line_and_exits_with_2(
    serve: Serve,
    arguments: list[str],
    message: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad").write_text("{ this is } none")
    assert serve(*arguments) == 2
    error = capfd.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert re.search(message, error)


@pytest.mark.parametrize("option", ["port", "rest_api_port"])
def test_port_in_use_is_refused(
    serve: Serve, option: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ports = {"port": "0", "rest_api_port": "0", option: str(port)}
        options = [f"--{name}={value}" for name, value in ports.items()]
        assert serve(*options, f"--model_base_path={tmp_path}") == 2
    error = capfd.readouterr().err
    assert error.splitlines()[-1].startswith(f"error: cannot listen on 127.0.0.1:{port}")


def test_run_suggests_serve_and_predict() -> None:
    available = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]
    commands = next_commands("my.toml", [], served_directory="/models")
    assert {line.split()[1] for line in commands} <= set(available)
    assert commands[0] == "bert serve --config my.toml"
    assert commands[1].startswith("bert predict --config my.toml ")


def test_model_without_text_input_suggests_its_metadata() -> None:
    numbers = SignatureMetadata({"x": TensorMetadata("DT_FLOAT", (None,))}, {}, "")
    models = {"half": ModelMetadata("half", 3, {"serving_default": numbers})}
    assert try_commands("http://h:1", models) == ["curl http://h:1/v1/models/half/metadata"]


@pytest.mark.slow
def test_suggested_commands_get_answers(tmp_path: Path) -> None:
    write_classifier(tmp_path / "models" / "3")
    with bert_serve("--set", "pusher.base_directory=models", folder=tmp_path) as server:
        assert server.lines[0].startswith("Ready in ")
        assert "  model  default, version 3" in server.lines
        curl, predict = server.commands()
        answers = []
        for command in (curl, f"{predict} --json --set pusher.base_directory=models"):
            done = subprocess.run(
                ["bash", "-c", command], cwd=tmp_path, env=environment(), check=True,
                capture_output=True, text=True,
            )  # fmt: skip
            answers.append(json.loads(done.stdout))
        [row] = answers[0]["predictions"]
        assert row["label"] == answers[1]["label"]
        assert set(answers[1]["scores"]) == {"negative", "positive"}
        assert list(answers[1]["scores"].values()) == pytest.approx(row["scores"])
        assert server.stop() == 0
    assert "Traceback" not in "".join(server.errors)
