"""The compiled graph compared with a golden file: nodes, edges and parameters of both stacks.

After an intended change, run ``BERT_UPDATE_GOLDEN=1 python -m pytest
tests/pipeline/test_graph.py`` to rewrite the file, and review its diff before committing it.
"""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from tfx.dsl.compiler import compiler

from pipeline.config import Config, load
from pipeline.graph import build_components
from pipeline.nodes import node_names
from pipeline.pipeline import create_pipeline

GOLDEN = Path(__file__).resolve().parents[1] / "golden"


def _config(*assignments: str) -> Config:
    fixed = [
        "data.path=/data/reviews.csv",
        "pipeline.root=/root_folder",
        "pusher.base_directory=/models",
    ]
    return load(assignments=[*fixed, *assignments], environ={})


def _describe(config: Config) -> dict[str, Any]:
    """Return nodes with their edges and parameters, independent of TFX's version."""
    proto = compiler.Compiler().compile(create_pipeline(config))
    nodes = [node.pipeline_node for node in proto.nodes]
    return {node.node_info.id: _describe_node(node) for node in nodes}


def _describe_node(node: Any) -> dict[str, Any]:
    inputs = {
        key: sorted(
            f"{channel.producer_node_query.id or '(earlier runs)'}.{channel.output_key}"
            for channel in spec.channels
        )
        for key, spec in node.inputs.inputs.items()
        if spec.channels
    }
    parameters = {
        key: _mask(value.field_value.string_value or str(value.field_value).strip())
        for key, value in node.parameters.parameters.items()
    }
    return {
        "upstream": sorted(node.upstream_nodes),
        "inputs": dict(sorted(inputs.items())),
        "outputs": sorted(node.outputs.outputs),
        "parameters": dict(sorted(parameters.items())),
    }


def _mask(value: str) -> str:
    """Mask code digests, which change with every edit."""
    return re.sub(r"\b[0-9a-f]{64}\b", "<sha256>", value)


@pytest.mark.parametrize(
    ("name", "assignments"),
    [("default", []), ("tuned", ["tuner.enabled=true", 'data.slice_columns=["domain"]'])],
)
def test_compiled_graph_matches_the_golden_file(name: str, assignments: list[str]) -> None:
    path = GOLDEN / f"pipeline_{name}.json"
    described = json.dumps(_describe(_config(*assignments)), indent=2, sort_keys=True) + "\n"
    if os.environ.get("BERT_UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(described)
    assert described == path.read_text()


@pytest.mark.parametrize(
    ("assignments", "count"),
    [
        (["tuner.enabled=true"], 11),
        ([], 10),
        (["infra_validator.enabled=false"], 9),
    ],
)
def test_graph_has_the_enabled_nodes_in_run_order(assignments: list[str], count: int) -> None:
    config = _config(*assignments)
    names = [node.id for node in build_components(config)]
    assert names == list(node_names(config))
    assert len(names) == count


def test_nodes_that_run_project_code_have_a_code_digest() -> None:
    described = _describe(_config("tuner.enabled=true"))
    without = {
        name for name, node in described.items() if "<sha256>" not in json.dumps(node["parameters"])
    }
    assert without == {"StatisticsGen", "SchemaGen", "Resolver"}


def test_transform_waits_for_the_example_validator() -> None:
    described = _describe(_config())
    assert "ExampleValidator" in described["Transform"]["upstream"]


def test_curated_schema_is_imported_with_its_digest(tmp_path: Path) -> None:
    schema = tmp_path / "schema.pbtxt"
    schema.write_text("")
    before = _describe(_config(f"schema.path={schema}"))["SchemaGen"]["parameters"]
    assert before["schema_file"] == str(schema)
    schema.write_text('feature { name: "text" }')
    config = _config(f"schema.path={schema}")
    assert build_components(config).schema_gen.exec_properties["schema_digest"] not in str(before)
