"""Transform: cleans and tokenises texts and looks up label ids, once for training and serving."""

from tfx import types
from tfx.components.transform.component import Transform
from tfx.proto import transform_pb2

from components.code_digest import code_digest
from modules.contract import features
from modules.contract.hparams import TextSettings

MODULE = "modules.preprocessing"


def make_transform(
    *, examples: types.BaseChannel, schema: types.BaseChannel, text: TextSettings
) -> Transform:
    """Create the Transform node.

    The test split is not transformed: the Evaluator feeds raw examples to the exported model.

    Args:
        examples: raw ``Examples`` with the splits of ``features.SPLITS``.
        schema: ``Schema`` of the raw examples.
        text: encoder, length and truncation.
    """
    return Transform(
        examples=examples,
        schema=schema,
        preprocessing_fn=f"{MODULE}.preprocessing_fn",
        splits_config=transform_pb2.SplitsConfig(
            analyze=[features.TRAIN_SPLIT],
            transform=[features.TRAIN_SPLIT, features.EVAL_SPLIT],
        ),
        # The label vocabulary is the only analysis and costs little; statistics of token ids are
        # useless and cost a second pass.
        disable_analyzer_cache=True,
        disable_statistics=True,
        custom_config={"text": text.to_json(), "code_digest": code_digest(MODULE)},
    )
