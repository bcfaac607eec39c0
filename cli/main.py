"""Entry point of the ``bert`` command: registers the commands and turns errors into exit codes.

Exit codes: 0 success; 1 a failed run or check, or an unexpected error; 2 an error that the user can
fix; 130 interrupted. Two commands have one more each: ``bert drift`` 3, too little traffic;
``bert watch --once --exit-code`` 99, no run due.
"""

import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from cli.commands import compile as compile_command
from cli.commands import (
    config,
    data,
    doctor,
    drift,
    feedback,
    gateway,
    keys,
    predict,
    rollout,
    run,
    runs,
    schema,
    serve,
    submit,
    trace,
    watch,
)
from cli.terminal import print_error
from cli.versions import version_lines
from modules.contract.errors import UserError

app = typer.Typer(
    name="bert",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="BERT as a service: from labelled text to a pushed classifier.",
)
app.command(short_help="Run the pipeline.")(run.run)
app.command("compile", short_help="Compile the pipeline to a file for another platform.")(
    compile_command.compile_pipeline
)
app.command(short_help="Start the pipeline on another platform.")(submit.submit)
app.command(short_help="Serve the pushed model over REST and gRPC.")(serve.serve)
app.command(short_help="Serve the HTTP API for predictions and feedback.")(gateway.gateway)
app.command(short_help="Classify texts with a pushed model.")(predict.predict)
app.command(short_help="List runs.")(runs.runs)
app.command(short_help="Show one run: metrics, decision, artifacts.")(runs.show)
app.command(short_help="Check that this machine can run the pipeline.")(doctor.doctor)
app.command(short_help="Compare recent traffic with held-out data.")(drift.drift)
app.command(short_help="Start runs when a trigger fires, and advance the rollout.")(watch.watch)
app.command(short_help="List why runs did or did not start.")(watch.decisions)
app.command(short_help="Send all traffic to a version now.")(rollout.promote)
app.command(short_help="Roll back a version.")(rollout.rollback)
app.command(short_help="Trace a prediction to its version, run, data and code.")(trace.trace)
app.add_typer(rollout.app, name="rollout")
app.add_typer(config.app, name="config")
app.add_typer(schema.app, name="schema")
app.add_typer(data.app, name="data")
app.add_typer(feedback.app, name="feedback")
app.add_typer(keys.app, name="keys")


def _print_versions(wanted: bool) -> None:
    if wanted:
        typer.echo("\n".join(version_lines()))
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an unexpected error.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_print_versions,
            is_eager=True,
            help="Print the versions of bert, TFX, TensorFlow and Python, and the commit.",
        ),
    ] = False,
) -> None:
    context.obj = {"debug": debug}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit.

    Args:
        arguments: words after ``bert``; None takes them from ``sys.argv``.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    # Google's libraries warn on import that their support for Python 3.11 ends.
    warnings.filterwarnings("ignore", "You are using a Python version", FutureWarning)
    try:
        app(arguments, prog_name="bert")
    except UserError as error:
        print_error(str(error))
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if "--debug" in arguments:
            raise
        print_error(f"unexpected {type(error).__name__}; the traceback is in {_write_traceback()}")
        sys.exit(1)


def _write_traceback() -> Path:
    """Write the current exception's traceback to a file and return its path."""
    name = f"bert-error-{time.strftime('%Y%m%d-%H%M%S')}.log"
    path = Path(tempfile.gettempdir()) / name
    path.write_text(traceback.format_exc(), "utf-8")
    return path


if __name__ == "__main__":
    main()
