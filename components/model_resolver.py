"""Resolver: finds the baseline, the model that was pushed last.

TFX's ``LatestBlessedModelStrategy`` answers with the last *blessed* model, which may never have
gone out: infra validation can still refuse it. What a candidate has to beat is what is deployed.
"""

from collections.abc import Iterable

import ml_metadata
from ml_metadata.proto import metadata_store_pb2
from tfx import types
from tfx.dsl.components.common import resolver
from tfx.types import artifact_utils, standard_artifacts

MODEL = "model"
PUSHED_MODEL = "pushed_model"

#: TFX's custom property of a PushedModel: 1 when its execution pushed something.
PUSHED = "pushed"

_OUTPUTS = (
    metadata_store_pb2.Event.OUTPUT,
    metadata_store_pb2.Event.DECLARED_OUTPUT,
)
_INPUTS = (
    metadata_store_pb2.Event.INPUT,
    metadata_store_pb2.Event.DECLARED_INPUT,
)


class LastPushedModelStrategy(resolver.ResolverStrategy):
    """The last pushed model other than the candidate.

    Inputs: ``model``, the candidate, and ``pushed_model``, every ``PushedModel`` of the pipeline.
    Outputs: under ``model`` the baseline, under ``pushed_model`` the push that made it so; both
    empty while nothing has been pushed.

    The candidate itself is passed over: when everything is cached the candidate *is* the last
    pushed model, and its baseline must be the one it was judged against, or the Evaluator would
    run again and compare the model with itself.

    The way from a push to its model goes over events, one look-up by id after the other: filter
    queries need ZetaSQL, which ml-metadata 1.21 no longer carries.
    """

    def resolve_artifacts(
        self,
        store: ml_metadata.MetadataStore,
        input_dict: dict[str, list[types.Artifact]],
    ) -> dict[str, list[types.Artifact]]:
        """Answer with the baseline and its push, or with empty lists.

        Args:
            store: the pipeline's metadata.
            input_dict: artifacts under ``model`` and ``pushed_model``.
        """
        # TFX's older drivers (notebook, Airflow) resolve every model of the pipeline, not only
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
    """Make the Resolver node.

    Args:
        model: the candidate ``Model``, so that it can be passed over.
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
    """The ``model`` input of the execution that made a push."""
    events = store.get_events_by_artifact_ids([push.id])
    # Cached executions share the output; the first one did the work.
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
