"""Compilation of the pipeline, cached between runs.

Compiling imports every component, which takes 15 s of CPU, and yields a few kilobytes. These are
cached in ``<pipeline.root>/compiled/``, under a digest of everything that they depend on: the
config, the first-party code, the curated schema and the versions of Python and TFX.
"""

import hashlib
import importlib.metadata
import json
import os
import platform
from pathlib import Path
from typing import Any

from components.code_digest import code_digest
from modules.contract.atomic_file import write_bytes
from pipeline.config import Config

_KEPT = 20


def compile_pipeline(config: Config, run_id: str) -> Any:
    """Return the ``Pipeline`` proto of ``config`` with a run id.

    Args:
        config: the resolved configuration.
        run_id: the id of this run in the metadata.
    """
    from tfx.dsl.compiler import constants
    from tfx.orchestration.portable import runtime_parameter_utils

    pipeline = kept_pipeline(config)
    runtime_parameter_utils.substitute_runtime_parameter(
        pipeline, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: run_id}
    )
    return pipeline


def kept_pipeline(config: Config) -> Any:
    """Return the ``Pipeline`` proto of ``config`` with all nodes and edges, without a run id.

    If it is cached, only TFX's protos are imported. The metadata connection is left out, because it
    may contain a password and the proto is stored on disk.
    """
    from tfx.proto.orchestration import pipeline_pb2

    path = Path(config.pipeline_root()) / "compiled" / f"{_digest(config)}.pb"
    try:
        pipeline = pipeline_pb2.Pipeline.FromString(path.read_bytes())
        os.utime(path)
    except FileNotFoundError:
        pipeline = _compile(config)
        _keep(path, pipeline.SerializeToString(deterministic=True))
    return pipeline


def _compile(config: Config) -> Any:
    from tfx.dsl.compiler import compiler

    from pipeline.pipeline import create_pipeline

    pipeline = create_pipeline(config)
    pipeline.metadata_connection_config = None
    return compiler.Compiler().compile(pipeline)


def _digest(config: Config) -> str:
    schema = config.curated_schema_file()
    parts = {
        "config": config.model_dump(mode="json", exclude={"metadata"}),
        "root": config.pipeline_root(),
        "directory": os.getcwd(),
        "code": code_digest("pipeline.pipeline", "modules.training", "modules.tuning"),
        "preprocessing": code_digest("modules.preprocessing"),
        "schema": hashlib.sha256(Path(schema).read_bytes()).hexdigest() if schema else None,
        "python": platform.python_version(),
        "tfx": importlib.metadata.version("tfx"),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _keep(path: Path, content: bytes) -> None:
    write_bytes(path, content, mode=0o600)
    for old in sorted(path.parent.glob("*.pb"), key=lambda kept: kept.stat().st_mtime)[:-_KEPT]:
        old.unlink(missing_ok=True)
