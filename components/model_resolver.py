"""Resolver: finds the baseline, the last pushed model.

TFX's ``LatestBlessedModelStrategy`` returns the last *blessed* model, which may never have been
pushed, because infra validation can still refuse it. A candidate must beat the deployed model.
"""

from collections.abc import Iterable

import ml_metadata
from ml_metadata.proto import metadata_store_pb2
from tfx import types
from tfx.dsl.components.common import resolver
from tfx.types import artifact_utils, standard_artifacts

from components.artifacts import Artifacts
from components.publishing.manifest import PUSHED

MODEL = "model"
PUSHED_MODEL = "pushed_model"

_OUTPUTS = (
    metadata_store_pb2.Event.OUTPUT,
    metadata_store_pb2.Event.DECLARED_OUTPUT,
)
_INPUTS = (
    metadata_store_pb2.Event.INPUT,
    metadata_store_pb2.Event.DECLARED_INPUT,
)


class LastPushedModelStrategy(resolver.ResolverStrategy):
    """Resolver strategy that returns the last pushed model other than the candidate.

    Inputs: ``model``, the candidate, and ``pushed_model``, every ``PushedModel`` of the pipeline.
    Outputs: ``model``, the baseline, and ``pushed_model``, its push; both are empty as long as
    nothing has been pushed.

    The candidate itself is skipped: if everything is cached, the candidate *is* the last pushed
    model, and its baseline must be the one it was compared with before. Otherwise, the Evaluator
    would run again and compare the model with itself.

    The model of a push is found through events, with lookups by id: filter queries need ZetaSQL,
    which ml-metadata 1.21 no longer includes.
    """

    def resolve_artifacts(
        self,
        store: ml_metadata.MetadataStore,
        input_dict: Artifacts,
    ) -> Artifacts:
        """Return the baseline and its push, or empty lists.

        Args:
            store: the pipeline's metadata store.
            input_dict: the artifacts of ``model`` and ``pushed_model``.
        """
        # TFX's older drivers (notebook, Airflow) pass every model of the pipeline instead of only
        # this run's; the newest is the candidate.
        candidate = max((model.id for model in input_dict[MODEL]), default=None)
        for push in _newest_first(input_dict[PUSHED_MODEL]):
            if push.get_int_custom_property(PUSHED) != 1:
                continue
            model = _model_of(store, push)
            if model is not None and model.id != candidate:
                return {MODEL: [model], PUSHED_MODEL: [push]}
        return {MODEL: [], PUSHED_MODEL: []}


def make_model_resolver(*, model: types.BaseChannel) -> resolver.Resolver:
    """Create the Resolver node.

    Args:
        model: the candidate ``Model``, which is skipped.
    """
    return resolver.Resolver(
        strategy_class=LastPushedModelStrategy,
        model=model,
        pushed_model=types.Channel(type=standard_artifacts.PushedModel),
    ).with_id("Resolver")


def _newest_first(pushes: Iterable[types.Artifact]) -> list[types.Artifact]:
    unique = {push.id: push for push in pushes}
    return [unique[key] for key in sorted(unique, reverse=True)]


def _model_of(store: ml_metadata.MetadataStore, push: types.Artifact) -> types.Artifact | None:
    """Return the ``model`` input of the execution that made a push."""
    events = store.get_events_by_artifact_ids([push.id])
    # Cached executions share the output; the first execution produced it.
    executions = sorted(event.execution_id for event in events if event.type in _OUTPUTS)
    for execution in executions[:1]:
        for event in store.get_events_by_execution_ids([execution]):
            if event.type in _INPUTS and _key(event) == MODEL:
                return _artifact(store, event.artifact_id)
    return None


def _key(event: metadata_store_pb2.Event) -> str:
    return next((step.key for step in event.path.steps if step.HasField("key")), "")


def _artifact(store: ml_metadata.MetadataStore, artifact_id: int) -> types.Artifact:
    [record] = store.get_artifacts_by_id([artifact_id])
    [kind] = store.get_artifact_types_by_id([record.type_id])
    return artifact_utils.deserialize_artifact(kind, record)
