"""``bert compile``: the pipeline as a file for another platform."""

from pathlib import Path
from typing import Annotated

import typer

from runners.commands.options import ConfigOption, SetOption, load_config

RunnerOption = Annotated[
    str, typer.Option("--runner", "-r", metavar="NAME", help="airflow, kubeflow or vertex.")
]


def compile_pipeline(
    runner: RunnerOption,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="PIPELINE-RUNNER.SUFFIX if absent."),
    ] = None,
    config: ConfigOption = None,
    assignments: SetOption = None,
) -> None:
    """Write the pipeline as a file that a platform runs. Nothing is sent anywhere."""
    settings = load_config(config, assignments)
    from modules.errors import UserError
    from runners.atomic_file import write_text
    from runners.remote_runners import platform
    from runners.terminal import stdout

    chosen = platform(runner)
    file = output or Path(f"{settings.pipeline.name}-{runner}{chosen.SUFFIXES[0]}")
    if not file.name.endswith(chosen.SUFFIXES):
        raise UserError(
            f"--output: {runner} takes a file that ends in {' or '.join(chosen.SUFFIXES)}; "
            f"received {str(file)!r}"
        )
    chosen.check(settings)
    write_text(file, chosen.compile_pipeline(settings))
    stdout().print(f"{file}: {settings.pipeline.name} for {runner}", soft_wrap=True)
