"""Blessing artifacts, with the same marks as those of TFX's own components."""

import os

from tfx import types
from tfx.dsl.io import fileio
from tfx.types import artifact_utils

_BLESSED = "blessed"
_CURRENT_MODEL = "current_model"
_CURRENT_MODEL_ID = "current_model_id"
_BASELINE_MODEL = "baseline_model"
_BASELINE_MODEL_ID = "baseline_model_id"
#: Custom property with a one-line summary, on each artifact that records a decision.
OUTCOME = "outcome"


def mark_blessing(
    blessing: types.Artifact,
    model: types.Artifact,
    *,
    blessed: bool,
    outcome: str,
    file_prefix: str = "",
    baseline: types.Artifact | None = None,
) -> None:
    """Mark a ModelBlessing or InfraBlessing.

    Args:
        blessing: the artifact to mark.
        model: the model that was judged.
        blessed: whether the model may be pushed.
        outcome: one line with the reason.
        file_prefix: "INFRA_" for an InfraBlessing.
        baseline: the model that it was compared with, or None.
    """
    name = f"{file_prefix}{'BLESSED' if blessed else 'NOT_BLESSED'}"
    with fileio.open(os.path.join(blessing.uri, name), "w") as file:
        file.write("")
    blessing.set_int_custom_property(_BLESSED, int(blessed))
    blessing.set_string_custom_property(_CURRENT_MODEL, model.uri)
    blessing.set_int_custom_property(_CURRENT_MODEL_ID, model.id)
    if baseline is not None:
        blessing.set_string_custom_property(_BASELINE_MODEL, baseline.uri)
        blessing.set_int_custom_property(_BASELINE_MODEL_ID, baseline.id)
    blessing.set_string_custom_property(OUTCOME, outcome)


def why_not_blessed(
    blessings: list[types.Artifact], model: types.Artifact, judge: str
) -> str | None:
    """Return why a model may not be pushed, or None if the blessing allows it.

    Args:
        blessings: the blessing; empty if there is none.
        model: the model to push.
        judge: the component that blesses, for the sentence.
    """
    if not blessings:
        return f"there is no blessing from {judge}"
    blessing = artifact_utils.get_single_instance(blessings)
    if blessing.get_int_custom_property(_BLESSED) != 1:
        outcome = blessing.get_string_custom_property(OUTCOME)
        return f"{judge} did not bless it" + (f" ({outcome})" if outcome else "")
    judged = blessing.get_int_custom_property(_CURRENT_MODEL_ID)
    # Artifacts outside ml-metadata, as on Kubeflow, have no ids.
    if judged and model.id and judged != model.id:
        return f"{judge} blessed model {judged}, but this is model {model.id}"
    return None
