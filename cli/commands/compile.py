"""``bert compile``: compile the pipeline to a file for another platform."""

from pathlib import Path
from typing import Annotated

import typer

from cli.commands.options import ConfigOption, SetOption, load_config

RunnerOption = Annotated[
    str,
    typer.Option("--runner", "-r", metavar="NAME", help="Platform: airflow, kubeflow or vertex."),
]


def compile_pipeline(
    runner: RunnerOption,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="File to write; default: PIPELINE-RUNNER.SUFFIX.",
        ),
    ] = None,
    cronjob_file: Annotated[
        Path | None,
        typer.Option(
            "--cronjob",
            metavar="FILE",
            help="Also write a Kubernetes CronJob that runs `bert watch --once`.",
        ),
    ] = None,
    config: ConfigOption = None,
    assignments: SetOption = None,
) -> None:
    """Compile the pipeline to a file that a platform runs. Nothing is submitted."""
    settings = load_config(config, assignments)
    from cli.terminal import stdout
    from modules.contract.atomic_file import write_text
    from runners.remote.platform import platform
    from runners.triggers import cronjob

    chosen = platform(runner)
    file = output or Path(f"{settings.pipeline.name}-{runner}{chosen.SUFFIXES[0]}")
    _check_suffix("--output", file, chosen.SUFFIXES)
    chosen.check(settings)
    if cronjob_file:
        cronjob.check(settings, runner)
        _check_suffix("--cronjob", cronjob_file, cronjob.SUFFIXES)
    write_text(file, chosen.compile_pipeline(settings))
    stdout().print(f"{file}: {settings.pipeline.name} for {runner}", soft_wrap=True)
    if cronjob_file:
        write_text(cronjob_file, cronjob.manifest(settings, runner))
        stdout().print(
            f"{cronjob_file}: {settings.cronjob.schedule}; kubectl apply -f {cronjob_file}",
            soft_wrap=True,
        )


def _check_suffix(option: str, file: Path, suffixes: tuple[str, ...]) -> None:
    from modules.contract.errors import UserError

    if not file.name.endswith(suffixes):
        raise UserError(f"{option} must end in {' or '.join(suffixes)}; received {str(file)!r}")
