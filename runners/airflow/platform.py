"""Compilation for Apache Airflow 2.

TFX's AirflowDagRunner builds every component whenever Airflow reads the DAG file, by default every
30 s: 15 s of CPU each time, in an environment that TFX and Airflow cannot share. Therefore the DAG
file contains the compiled pipeline's nodes and edges as data; see ``runners.airflow.dag``.
"""

import pprint
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modules.contract.errors import UserError
from pipeline.config import Config
from pipeline.config_keys import keys, nearest
from runners.remote.config_assignments import assignments

if TYPE_CHECKING:
    from runners.airflow.client import AirflowConnection

#: Allowed suffixes of the compiled file.
SUFFIXES = (".py",)
_TEMPLATE = Path(__file__).with_name("dag.py")
_PLACEHOLDER = "PLAN: dict[str, Any] = {}\n"
#: Keys that a run cannot set, because the DAG file depends on them.
_FIXED = (
    "airflow.",
    "cronjob.",
    "infra_validator.enabled",
    "metadata.",
    "pipeline.name",
    "tuner.enabled",
)


def check(config: Config) -> None:
    """Refuse a config that cannot run on Airflow, without slow imports.

    Raises:
        UserError: a setting is wrong; names the key, the allowed values and the fix.
    """
    known = [key for key in keys(Config) if not key.startswith(_FIXED)]
    for key in config.airflow.parameters:
        if key not in known:
            guess = nearest(key, dict.fromkeys(known))
            hint = f"; did you mean {guess}?" if guess else ""
            raise UserError(
                "airflow.parameters: must be config keys that do not change the graph; "
                f"received {key!r}{hint}"
            )
    python = config.airflow.python
    if python and not shutil.which(python) and "/" not in python:
        raise UserError(
            f"airflow.python: must be the path of an interpreter; received {python!r}, which is "
            f"not on the PATH; try --set airflow.python={sys.executable}"
        )
    if config.airflow.gated:
        _check_gate(config)


def _check_gate(config: Config) -> None:
    from pipeline.schedule import check_schedule

    if not config.airflow.schedule:
        raise UserError(
            "airflow.schedule: must say how often to poll the triggers if airflow.gated is set; "
            "received nothing; try --set 'airflow.schedule=*/15 * * * *'"
        )
    if config.airflow.catchup:
        raise UserError(
            "airflow.catchup: must be false if airflow.gated is set, because the next poll makes "
            "up for a missed one; received true; try --set airflow.catchup=false"
        )
    check_schedule(config.triggers.schedule)


def connect(config: Config) -> "AirflowConnection":
    """Return a connection whose host and credentials have been checked.

    Raises:
        UserError: URL or credentials are missing, the web server does not answer, or the DAG cannot
            run.
    """
    from runners.airflow.client import AirflowConnection

    return AirflowConnection(config)


def compile_pipeline(config: Config) -> str:
    """Return the DAG file: Python source without secrets that imports only Airflow."""
    source = _TEMPLATE.read_text("utf-8")
    assert _PLACEHOLDER in source
    plan = pprint.pformat(make_plan(config), width=100, sort_dicts=False)
    return source.replace(_PLACEHOLDER, f"PLAN: dict[str, Any] = {plan}\n")


def make_plan(config: Config) -> dict[str, Any]:
    """Return the content of ``PLAN`` in the DAG file, as plain values."""
    settings = config.airflow
    return {
        "dag_id": config.pipeline.name,
        "schedule": settings.schedule or None,
        **settings.model_dump(
            mode="json", exclude={"url", "schedule", "parameters", "python", "directory"}
        ),
        "python": settings.python or sys.executable,
        "directory": settings.directory or str(Path.cwd()),
        "parameters": list(settings.parameters),
        "assignments": assignments(config, without=("airflow.", "cronjob.")),
        "nodes": edges(config),
    }


def edges(config: Config) -> dict[str, list[str]]:
    """Return each node's upstream nodes, in run order, as the local runner compiles them."""
    from runners.node.compilation import kept_pipeline

    nodes = [node.pipeline_node for node in kept_pipeline(config).nodes]
    return {node.node_info.id: sorted(node.upstream_nodes) for node in nodes}
