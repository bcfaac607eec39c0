"""``bert predict``: classify texts with a pushed model, locally or on a model server."""

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from cli.commands.options import ConfigOption, JsonOption, SetOption, load_config

if TYPE_CHECKING:
    from runners.predict.local import TextPrediction

TextsArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="TEXT", help="Texts to classify.", show_default=False),
]
FileOption = Annotated[
    str | None,
    typer.Option(
        "--file", "-f", metavar="FILE", help="File with one text per line; - is standard input."
    ),
]
OutputOption = Annotated[
    str | None,
    typer.Option("--output", "-o", metavar="FILE", help="File to write; it appears once complete."),
]
VersionOption = Annotated[
    int | None,
    typer.Option("--version", metavar="N", help="Pushed version; default: the latest."),
]
UrlOption = Annotated[
    str | None,
    typer.Option(
        "--url",
        metavar="URL",
        help="Model server to use: http://127.0.0.1:8501, grpc://127.0.0.1:8500.",
    ),
]
LabelOption = Annotated[
    str | None,
    typer.Option("--label", metavar="NAME", help="With --url: version label, such as stable."),
]
ModelOption = Annotated[
    str, typer.Option("--model_name", metavar="NAME", help="With --url: name of the model.")
]

#: Texts per call of a model in this process.
_WINDOW = 256


def predict(
    texts: TextsArgument = None,
    file: FileOption = None,
    output: OutputOption = None,
    version: VersionOption = None,
    url: UrlOption = None,
    label: LabelOption = None,
    model_name: ModelOption = "default",
    config: ConfigOption = None,
    assignments: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Classify texts with the pushed model, loaded locally or served at --url.

    Prints the label and score of each text; --json prints one object per line, with the scores of
    all labels. A file is processed as a stream, whatever its size, with progress on standard error.
    """
    import sys

    from cli.screens.predictions import Progress, print_json, print_lines, print_table
    from modules.contract.errors import UserError
    from runners.predict.text_lines import Position, read_texts

    if label is not None and url is None:
        raise UserError(
            "--label needs --url, since only servers have version labels; use --version N"
        )
    position = Position()
    given = read_texts(texts or [], file, position)
    directory = load_config(config, assignments).push_directory()
    if url is None:
        predictions = _predict_here(given, directory, version)
    else:
        from runners.predict.remote import predict_remotely

        predictions = predict_remotely(
            given, url, model=model_name, version=version, label=label, push_directory=directory
        )
    on_terminal = output is None and sys.stdout.isatty()
    with contextlib.ExitStack() as stack:
        if file is not None and not on_terminal:
            predictions = stack.enter_context(Progress(share=position.share)).track(predictions)
        stream = None if output is None else stack.enter_context(_written(Path(output)))
        if as_json:
            print_json(predictions, stream)
        elif on_terminal and file is None:
            print_table(predictions)
        else:
            print_lines(predictions, stream)


@contextlib.contextmanager
def _written(path: Path) -> Iterator[TextIO]:
    """Open the file of --output, which appears once it is complete.

    Raises:
        UserError: it cannot be written.
    """
    from modules.contract.atomic_file import whole_file
    from modules.contract.errors import UserError

    try:
        with whole_file(path) as file:
            yield file
    except OSError as error:
        raise UserError(f"cannot write --output {path}: {error.strerror or error}") from error


def _predict_here(
    texts: Iterable[str], directory: str, version: int | None
) -> Iterator["TextPrediction"]:
    """Yield the predictions of a model loaded in this process."""
    import itertools

    from modules.contract.pushed_model import find_version
    from runners.predict.local import Predictor

    predictor = Predictor(find_version(directory, version))
    texts = iter(texts)
    while window := list(itertools.islice(texts, _WINDOW)):
        yield from predictor.predict(window)
