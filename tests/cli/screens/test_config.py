import json
import tomllib

import pytest

from cli.screens.config import render
from pipeline.config import Config, load
from pipeline.config_keys import keys

SECRET = ["metadata.url=mysql://user:hunter2@host/db", "trainer.epochs=7"]


@pytest.mark.parametrize("style", ["table", "toml", "json"])
@pytest.mark.parametrize("origins", [True, False])
def test_every_style_masks_the_password(
    style, origins: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    render(load(None, SECRET, {}), style=style, origins=origins)
    out = capsys.readouterr().out
    assert "hunter2" not in out
    assert "mysql://user:***@host/db" in out


def test_toml_reads_back_as_the_same_config(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    config = load("newsgroups", ["trainer.epochs=7"], {})
    render(config, style="toml", origins=True)
    path = tmp_path / "shown.toml"
    path.write_text(capsys.readouterr().out)
    assert load(path, environ={}).model_dump() == config.model_dump()


def test_json_is_nested(capsys: pytest.CaptureFixture[str]) -> None:
    render(load(None, SECRET, {}), style="json", origins=False)
    assert json.loads(capsys.readouterr().out)["trainer"]["epochs"] == 7


def test_json_with_origins_has_an_entry_for_each_key(capsys: pytest.CaptureFixture[str]) -> None:
    render(load(None, SECRET, {}), style="json", origins=True)
    rows = json.loads(capsys.readouterr().out)
    assert list(rows) == list(keys(Config))
    assert rows["trainer.epochs"] == {"value": 7, "origin": "--set trainer.epochs"}


def test_plain_lines_are_toml_with_origins(capsys: pytest.CaptureFixture[str]) -> None:
    render(load(None, SECRET, {}), style="table", origins=True)
    lines = capsys.readouterr().out.splitlines()
    assert "trainer.epochs = 7  # --set trainer.epochs" in lines
    assert "trainer.dropout = 0.1  # default" in lines
    assert len(lines) == len(keys(Config))
    assert tomllib.loads("\n".join(lines))["trainer"]["epochs"] == 7
