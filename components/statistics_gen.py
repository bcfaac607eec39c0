"""StatisticsGen: descriptive statistics of every split, by TensorFlow Data Validation."""

from tfx import types
from tfx.components.statistics_gen.component import StatisticsGen


def make_statistics_gen(*, examples: types.BaseChannel) -> StatisticsGen:
    """Make the StatisticsGen node.

    Args:
        examples: raw ``Examples``.
    """
    return StatisticsGen(examples=examples)
