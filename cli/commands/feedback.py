"""``bert feedback``: review feedback, and export it as training data."""

from typing import TYPE_CHECKING, Annotated

import typer

from cli.commands.options import ConfigOption, JsonOption, SetOption, load_config, open_database

if TYPE_CHECKING:
    from serving.feedback.errors import FeedbackError

app = typer.Typer(no_args_is_help=True, help="Review feedback, and export it as training data.")

_LISTED = ("conflict", "new_class")


@app.command()
def export(
    config: ConfigOption = None, assignments: SetOption = None, as_json: JsonOption = False
) -> None:
    """Export new labels that are agreed or reviewed as the next span.

    The next run reads the span in addition to data.path. Without usable labels, no span is written.
    """
    settings = load_config(config, assignments)
    from cli.screens.feedback import print_export
    from runners.freshness import feedback_export

    with open_database(settings) as database:
        report = feedback_export.export(settings, database)
    nothing_held_out = not feedback_export.held_out_identities(settings)
    print_export(report, nothing_held_out=nothing_held_out, as_json=as_json)


@app.command()
def review(
    text: Annotated[
        str | None,
        typer.Argument(
            metavar="ID", help="Listed id or its prefix, or a prediction's id; omit to list."
        ),
    ] = None,
    label: Annotated[str | None, typer.Option("--label", help="Correct label.")] = None,
    discard: Annotated[
        bool, typer.Option("--discard", help="Exclude the text from the training data.")
    ] = False,
    new_class: Annotated[
        bool, typer.Option("--new-class", help="Accept a label that the model does not know.")
    ] = False,
    config: ConfigOption = None,
    assignments: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """List texts whose labels conflict or are unknown, or set the final label of one."""
    from modules.contract.errors import UserError

    if text is None and (label is not None or discard):
        raise UserError("--label and --discard need an ID; run `bert feedback review` to list them")
    if text is not None and (label is None) == (not discard):
        raise UserError("with an ID, give either --label LABEL or --discard")
    if discard and new_class:
        raise UserError("--new-class goes with --label, not with --discard")
    settings = load_config(config, assignments)
    if label is not None and settings.data.labels and label not in settings.data.labels:
        raise UserError(
            f"{label!r} is not in data.labels, so runs would reject it (allowed: "
            f"{', '.join(settings.data.labels)}); use one of them, or add it to data.labels"
        )
    from cli.screens.feedback import print_questions, print_review
    from cli.terminal import user_name
    from runners.freshness.feedback_export import label_vocabulary, usable
    from serving.feedback.errors import FeedbackError
    from serving.feedback.reviews import add_review

    with open_database(settings) as database:
        if text is None:
            left_out = usable(settings, database).left_out
            listed = [candidate for candidate in left_out if candidate.reason in _LISTED]
            print_questions(listed, as_json=as_json)
            return
        try:
            reviewed = add_review(
                database,
                text,
                label,
                reviewer=user_name(),
                labels=label_vocabulary(settings),
                new_class=new_class,
            )
        except FeedbackError as error:
            raise UserError("; ".join((str(error), *_remedy(error)))) from error
    print_review(reviewed, as_json=as_json)


def _remedy(error: "FeedbackError") -> tuple[str, ...]:
    """Return what to type instead, unless the message contains it."""
    from serving.feedback import errors
    from serving.feedback.reviews import MIN_DIGITS

    if isinstance(error, errors.UnknownLabelError):
        return ("use one of them, or add --new-class to accept the new label",)
    if isinstance(error, errors.InvalidLabelError):
        return ("use another --label",)
    if isinstance(error, errors.UnknownPredictionError):
        listed = f"at least {MIN_DIGITS} digits of an id that `bert feedback review` lists"
        return (f"use {listed}, or the id of a prediction",)
    return ()


@app.command("list")
def list_spans(
    config: ConfigOption = None, assignments: SetOption = None, as_json: JsonOption = False
) -> None:
    """List the spans, and check that their files are unchanged."""
    settings = load_config(config, assignments)
    from cli.screens.feedback import print_spans
    from serving.feedback import span_list

    with open_database(settings) as database:
        spans = span_list.list_spans(database, settings.spans_directory())
    print_spans(spans, as_json=as_json)
