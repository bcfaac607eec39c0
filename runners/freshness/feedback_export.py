"""Export of feedback by the config, for ``bert feedback export`` and ``bert watch``."""

import functools

from modules.contract import features
from modules.contract.errors import DataError
from modules.contract.pushed_model import complete_versions, read_labels
from modules.contract.text_identity import text_identity
from pipeline.config import Config
from runners.lineage.runs import NothingRanError, read_runs
from serving.feedback.export import ExportSettings, SpanReport, export_span
from serving.feedback.selection import Selection
from serving.feedback.store import FeedbackStore
from serving.records.database import Database


def export(config: Config, database: Database) -> SpanReport:
    """Write the next span, if there are new examples.

    Raises:
        UserError: the folder cannot be written, or the last run's test split does not exist.
        SQLAlchemyError: the database failed.
    """
    return export_span(
        database,
        config.spans_directory(),
        held_out_identities(config),
        label_vocabulary(config),
        export_settings(config),
        columns=(config.data.text_column, config.data.label_column),
    )


def usable(config: Config, database: Database) -> Selection:
    """Return what ``export`` would write now, and what it would leave out and why.

    Raises:
        UserError: the last run's test split does not exist.
        SQLAlchemyError: the database failed.
    """
    return FeedbackStore(database).usable_examples(
        export_settings(config),
        held_out=held_out_identities(config),
        labels=label_vocabulary(config),
    )


def export_settings(config: Config) -> ExportSettings:
    """Return the rules of export, from ``[feedback]`` and ``[data]``."""
    return ExportSettings(
        min_votes=config.feedback.min_votes,
        max_share_per_key=config.feedback.max_share_per_key,
        max_examples=config.feedback.max_examples,
        max_text_bytes=config.data.max_text_bytes,
    )


def held_out_identities(config: Config) -> frozenset[str]:
    """Read the text identities of the test split of the last run that has one.

    Reading imports TensorFlow; a run's texts are read once per process.

    Returns:
        Text identities, 64 hex digits each. Empty before the first run: nothing is held out yet.

    Raises:
        DataError: the run's test split does not exist, so it is unknown which texts must not be
            trained on.
    """
    try:
        runs = read_runs(config, with_outputs=["ExampleGen"])
    except NothingRanError:
        return frozenset()
    for run in runs:
        node, examples = run.node("ExampleGen"), run.artifact("ExampleGen", "Examples")
        if node and examples and node.state in {"ran", "cached"}:
            return _read_identities(f"{examples.uri}/Split-{features.TEST_SPLIT}")
    return frozenset()


def label_vocabulary(config: Config) -> list[str]:
    """Return the labels of the model that was pushed last, or else ``data.labels``.

    Returns:
        Labels in id order; empty if there is neither.

    Raises:
        UserError: the pushed version has no label list.
    """
    pushed = complete_versions(config.push_directory())
    return read_labels(pushed[max(pushed)]) if pushed else list(config.data.labels)


@functools.lru_cache(maxsize=4)
def _read_identities(folder: str) -> frozenset[str]:
    import tensorflow as tf

    files = sorted(tf.io.gfile.glob(f"{folder}/*"))
    if not files:
        raise DataError(
            f"the test split of the last run is missing in {folder}, so feedback cannot be kept "
            "apart from it; create it again: bert run"
        )
    found = set()
    for record in tf.data.TFRecordDataset(files, compression_type="GZIP").as_numpy_iterator():
        feature = tf.train.Example.FromString(record).features.feature
        [text] = feature[features.TEXT].bytes_list.value
        found.add(text_identity(text.decode("utf-8")).hex())
    return frozenset(found)
