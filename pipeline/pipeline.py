"""The TFX pipeline of a config, the same for every runner."""

from typing import Any

from tfx.orchestration import pipeline as tfx_pipeline

from pipeline.config import Config
from pipeline.graph import build_components
from pipeline.metadata_store import connection_config


def create_pipeline(config: Config, **nodes: Any) -> tfx_pipeline.Pipeline:
    """Create the TFX pipeline that ``config`` describes.

    Args:
        config: the resolved configuration.
        **nodes: platform-specific arguments of ``build_components``.

    Raises:
        UserError: ``metadata.url`` is malformed.
    """
    return tfx_pipeline.Pipeline(
        pipeline_name=config.pipeline.name,
        pipeline_root=config.pipeline_root(),
        components=list(build_components(config, **nodes)),
        enable_cache=config.pipeline.cache,
        metadata_connection_config=connection_config(config.metadata_url()),
        beam_pipeline_args=config.beam_arguments(),
    )
