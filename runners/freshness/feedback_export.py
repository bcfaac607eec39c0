"""Exports feedback as the config asks; `bert feedback export` and `bert watch` both call this."""

from pipeline.config import Config
from runners.freshness.held_out_texts import held_out_identities, label_vocabulary
from serving.feedback.export import ExportSettings, SpanReport, export_span
from serving.feedback.selection import Selection
from serving.feedback.store import FeedbackStore
from serving.records.database import Database


def export(config: Config, database: Database) -> SpanReport:
    """Write the next span, if there is anything to write.

    Raises:
        UserError: the folder cannot be written, or the last run's test split is gone.
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
    """What ``export`` would write now, and what it would leave out and why.

    Raises:
        UserError: the last run's test split is gone.
    """
    return FeedbackStore(database).usable_examples(
        export_settings(config),
        held_out=held_out_identities(config),
        labels=label_vocabulary(config),
    )


def export_settings(config: Config) -> ExportSettings:
    """The ``[feedback]`` section's rules of export."""
    return ExportSettings(
        min_votes=config.feedback.min_votes,
        max_share_per_key=config.feedback.max_share_per_key,
        max_examples=config.feedback.max_examples,
        max_text_bytes=config.data.max_text_bytes,
    )
