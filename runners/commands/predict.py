"""``bert predict``: classify texts with a pushed model."""

from pathlib import Path
from typing import Annotated

import typer

from runners.commands.options import ConfigOption, JsonOption, SetOption, load_config

TextsArgument = Annotated[list[str] | None, typer.Argument(metavar="TEXT", show_default=False)]
FileOption = Annotated[
    str | None,
    typer.Option("--file", "-f", metavar="FILE", help="One text a line; - is standard input."),
]
VersionOption = Annotated[
    int | None,
    typer.Option("--version", metavar="N", help="A pushed version; else the latest."),
]


def predict(
    texts: TextsArgument = None,
    file: FileOption = None,
    version: VersionOption = None,
    config: ConfigOption = None,
    assignments: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Classify texts with the pushed model, loaded here.

    Prints each text's label and score; --json adds the scores of all labels, one object a line.
    """
    from runners.prediction import Predictor, find_version

    given = read_texts(texts or [], file)
    settings = load_config(config, assignments)
    predictor = Predictor(find_version(Path(settings.push_directory()), version))
    predictions = predictor.predict(given)
    if as_json:
        import dataclasses
        import json

        for prediction in predictions:
            print(json.dumps(dataclasses.asdict(prediction), ensure_ascii=False))
        return
    from rich.table import Table
    from rich.text import Text

    from runners.terminal import stdout

    console = stdout()
    if not console.is_terminal:
        for prediction in predictions:
            print(f"{prediction.label}\t{prediction.score:.4f}\t{one_line(prediction.text)}")
        return
    table = Table("label", "score", "text", box=None, pad_edge=False)
    for prediction in predictions:
        text = Text(one_line(prediction.text), overflow="ellipsis", no_wrap=True)
        table.add_row(Text(prediction.label), f"{prediction.score:.4f}", text)
    console.print(table)


def read_texts(texts: list[str], file: str | None) -> list[str]:
    """The texts of the command line and of the file, empty lines left out.

    Raises:
        UserError: there is none, or the file cannot be read.
    """
    import sys

    from modules.errors import UserError

    lines: list[str] = []
    if file is not None:
        try:
            content = sys.stdin.read() if file == "-" else Path(file).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"--file {file} cannot be read as UTF-8 text: {error}") from error
        lines = [line for line in content.splitlines() if line.strip()]
    if not texts and not lines:
        raise UserError('nothing to classify; `bert predict "some text"` or --file FILE')
    return [*texts, *lines]


def one_line(text: str) -> str:
    """The text without line breaks, tabs and control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
