"""``bert schema``: what the data must look like."""

import typer

from cli.commands.options import ConfigOption, SetOption, load_config

app = typer.Typer(no_args_is_help=True, help="Show the data's schema, or accept it for later runs.")


@app.command()
def show(config: ConfigOption = None, assignments: SetOption = None) -> None:
    """Print the accepted schema or, where there is none, the one that the last run inferred."""
    settings = load_config(config, assignments)
    from cli.commands.curated_schema import current
    from cli.terminal import stdout

    path = current(settings)
    console = stdout()
    console.print(f"# {path}\n{path.read_text('utf-8').rstrip()}", soft_wrap=True)


@app.command()
def accept(config: ConfigOption = None, assignments: SetOption = None) -> None:
    """Keep the schema that the last run inferred: later runs check their data against it."""
    settings = load_config(config, assignments)
    from cli.commands.curated_schema import accept as accept_schema
    from cli.terminal import stdout

    source, destination = accept_schema(settings)
    stdout().print(f"{destination} accepted, from {source}", soft_wrap=True)
