"""``bert doctor``: check that this machine can run the pipeline."""

import typer

from cli.commands.options import ConfigOption, JsonOption, SetOption, load_config


def doctor(
    config: ConfigOption = None, assignments: SetOption = None, as_json: JsonOption = False
) -> None:
    """Check Python, installed packages, GPUs, the encoder, disk, memory and write permissions.

    The exit code is 1 if a check fails.
    """
    settings = load_config(config, assignments)
    import dataclasses
    import json

    from rich.text import Text

    from cli.doctor import examine
    from cli.terminal import plain_table, stdout

    console = stdout()
    if console.is_terminal and not as_json:
        with console.status("checking; importing TensorFlow takes a while"):
            checks = list(examine(settings))
    else:
        checks = list(examine(settings))
    if as_json:
        print(json.dumps([dataclasses.asdict(check) for check in checks], indent=2))
    else:
        styles = {"ok": "green", "warning": "yellow", "failed": "bold red"}
        table = plain_table("check", "state", "detail")
        for check in checks:
            state = Text(check.state, styles[check.state])
            table.add_row(Text(check.name), state, Text(check.detail))
        console.print(table)
    if any(check.state == "failed" for check in checks):
        raise typer.Exit(1)
