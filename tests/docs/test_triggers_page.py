"""The cron and Airflow examples in docs/triggers.md; its CronJob is tested elsewhere."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from croniter import croniter

from pipeline.config import Config, load
from runners.airflow import platform as airflow

PAGE = (Path(__file__).parents[2] / "docs" / "triggers.md").read_text("utf-8")


def test_crontab_line_works(tmp_path: Path) -> None:
    """Run the line like cron, with sh in a minimal environment."""
    [line] = re.findall(r"```text\n(.*watch --once.*)\n```", PAGE)
    *fields, command = line.split(maxsplit=5)
    assert croniter.is_valid(" ".join(fields))
    assert "/srv/bert" in command
    (tmp_path / ".venv").symlink_to(sys.prefix)
    (tmp_path / "reviews.csv").write_text("text,label\ngood,positive\n")
    (tmp_path / "my.toml").write_text('data.path = "reviews.csv"\n')
    done = subprocess.run(
        ["/bin/sh", "-c", command.replace("/srv/bert", str(tmp_path))],
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), "cron mails any output"
    assert (tmp_path / "watch.log").read_text().startswith("no run starts: no trigger fired")


def test_airflow_settings_create_a_gated_dag(monkeypatch: pytest.MonkeyPatch) -> None:
    [shown] = re.findall(r"### Airflow\n\n```toml\n(.*?)```", PAGE, re.S)
    values = tomllib.loads(shown)
    assignments = [
        f"{section}.{key}={str(value).lower()}"
        for section, table in values.items()
        for key, value in table.items()
    ]
    config: Config = load(None, assignments, {})
    airflow.check(config)
    monkeypatch.setattr(airflow, "edges", lambda config: {"ExampleGen": []})
    plan = airflow.make_plan(config)
    assert (plan["gated"], plan["schedule"]) == (True, "*/15 * * * *")
    assert 'triggers.schedule="0 3 * * 1"' in plan["assignments"]
