"""``bert keys``: API keys of the gateway."""

from typing import Annotated

import typer

from cli.commands.options import ConfigOption, JsonOption, SetOption, load_config

app = typer.Typer(no_args_is_help=True, help="Make and take back API keys of the gateway.")


@app.command()
def create(
    name: Annotated[str, typer.Option("--name", help="Whose key it is.")],
    scopes: Annotated[
        list[str],
        typer.Option("--scope", help="predict, feedback or admin; may be given several times."),
    ],
    config: ConfigOption = None,
    assignments: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key and print it, this once: only a digest is kept."""
    settings = load_config(config, assignments)
    from contextlib import closing

    from cli.screens.keys import print_new_key
    from serving.records.api_keys import ApiKeys
    from serving.records.database import Database

    with closing(Database(settings.database_url())) as database:
        key, secret = ApiKeys(database).create(name, scopes)
    print_new_key(key, secret, as_json=as_json)


@app.command("list")
def list_keys(
    config: ConfigOption = None, assignments: SetOption = None, as_json: JsonOption = False
) -> None:
    """List the keys without their secrets."""
    settings = load_config(config, assignments)
    from contextlib import closing

    from cli.screens.keys import print_keys
    from serving.records.api_keys import ApiKeys
    from serving.records.database import Database

    with closing(Database(settings.database_url())) as database:
        keys = ApiKeys(database).list()
    print_keys(keys, as_json=as_json)


@app.command()
def disable(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="As `bert keys list` shows it.")],
    config: ConfigOption = None,
    assignments: SetOption = None,
) -> None:
    """Take a key back; within seconds no gateway accepts it."""
    settings = load_config(config, assignments)
    from contextlib import closing

    from cli.terminal import stdout
    from serving.records.api_keys import ApiKeys
    from serving.records.database import Database

    with closing(Database(settings.database_url())) as database:
        key = ApiKeys(database).disable(key_id)
    stdout().print(f"key {key.id} of {key.name} is disabled")
