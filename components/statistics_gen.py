"""StatisticsGen: computes statistics of every split with TensorFlow Data Validation."""

from tfx import types
from tfx.components.statistics_gen.component import StatisticsGen


def make_statistics_gen(*, examples: types.BaseChannel) -> StatisticsGen:
    """Create the StatisticsGen node, with the output ``statistics``.

    Args:
        examples: raw ``Examples``.
    """
    return StatisticsGen(examples=examples)
