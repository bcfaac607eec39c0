"""``bert keys``: API keys of the gateway."""

from typing import Annotated

import typer

from cli.commands.options import ConfigOption, JsonOption, SetOption, load_config, open_database

app = typer.Typer(no_args_is_help=True, help="Manage API keys of the gateway.")


@app.command()
def create(
    name: Annotated[str, typer.Option("--name", help="Name of the key's owner.")],
    scopes: Annotated[
        list[str],
        typer.Option("--scope", help="predict, feedback or admin; repeatable."),
    ],
    config: ConfigOption = None,
    assignments: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Create a key and print it once; only its digest is stored."""
    settings = load_config(config, assignments)
    from cli.screens.keys import print_new_key
    from serving.records.api_keys import ApiKeys

    with open_database(settings) as database:
        key, secret = ApiKeys(database).create(name, scopes)
    print_new_key(key, secret, as_json=as_json)


@app.command("list")
def list_keys(
    config: ConfigOption = None, assignments: SetOption = None, as_json: JsonOption = False
) -> None:
    """List the keys without their secrets."""
    settings = load_config(config, assignments)
    from cli.screens.keys import print_keys
    from serving.records.api_keys import ApiKeys

    with open_database(settings) as database:
        keys = ApiKeys(database).list()
    print_keys(keys, as_json=as_json)


@app.command()
def disable(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="Id shown by `bert keys list`.")],
    config: ConfigOption = None,
    assignments: SetOption = None,
) -> None:
    """Disable a key; every gateway rejects it within a second."""
    settings = load_config(config, assignments)
    from cli.terminal import stdout
    from serving.records.api_keys import ApiKeys

    with open_database(settings) as database:
        key = ApiKeys(database).disable(key_id)
    stdout().print(f"key {key.id} of {key.name} is disabled")
