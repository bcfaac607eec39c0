"""SchemaGen: infers the schema from statistics, or imports a curated one from a file."""

import hashlib

from tfx import types
from tfx.components.schema_gen.component import SchemaGen
from tfx.components.schema_gen.import_schema_gen.component import ImportSchemaGen
from tfx.dsl.components.base import base_component
from tfx.dsl.io import fileio
from tfx.types import component_spec, standard_artifacts, standard_component_specs

NODE_ID = "SchemaGen"
SCHEMA_DIGEST = "schema_digest"


class CuratedSchemaSpec(standard_component_specs.ImportSchemaGenSpec):
    """TFX's spec with a digest of the file: TFX caches on the path and would not notice an edit."""

    PARAMETERS = {
        **standard_component_specs.ImportSchemaGenSpec.PARAMETERS,
        SCHEMA_DIGEST: component_spec.ExecutionParameter(type=str),
    }


class CuratedSchemaGen(base_component.BaseComponent):
    """ImportSchemaGen that runs again when the file's content changes."""

    SPEC_CLASS = CuratedSchemaSpec
    EXECUTOR_SPEC = ImportSchemaGen.EXECUTOR_SPEC


def make_schema_gen(
    *, statistics: types.BaseChannel, schema_file: str | None
) -> SchemaGen | CuratedSchemaGen:
    """Create the node that outputs ``schema``. Its id is ``SchemaGen`` in both cases.

    Args:
        statistics: ``ExampleStatistics`` of the raw examples.
        schema_file: path of a curated ``schema.pbtxt``; None infers the schema.
    """
    if schema_file is None:
        return SchemaGen(statistics=statistics, infer_feature_shape=True).with_id(NODE_ID)
    with fileio.open(schema_file, "rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    spec = CuratedSchemaSpec(
        schema_file=schema_file,
        schema_digest=digest,
        schema=types.Channel(type=standard_artifacts.Schema),
    )
    return CuratedSchemaGen(spec).with_id(NODE_ID)
