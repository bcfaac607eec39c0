"""``bert keys``: API keys of the gateway."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.commands.options import ConfigOption, JsonOption, SetOption, load_config

if TYPE_CHECKING:
    from serving.records.tables import ApiKeyRow

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
    import json
    from contextlib import closing

    from cli.terminal import stderr
    from serving.records.api_keys import ApiKeys
    from serving.records.database import Database

    with closing(Database(settings.database_url())) as database:
        key, secret = ApiKeys(database).create(name, scopes)
    if as_json:
        print(json.dumps({**_public(key), "key": secret}, indent=2, ensure_ascii=False))
        return
    print(secret)
    stderr().print(f"key {key.id} for {key.name}: {', '.join(key.scopes)}; it is not shown again")


@app.command("list")
def list_keys(
    config: ConfigOption = None, assignments: SetOption = None, as_json: JsonOption = False
) -> None:
    """List the keys without their secrets."""
    settings = load_config(config, assignments)
    import json
    from contextlib import closing

    from rich.table import Table
    from rich.text import Text

    from cli.terminal import local_time, stdout
    from serving.records.api_keys import ApiKeys
    from serving.records.database import Database

    with closing(Database(settings.database_url())) as database:
        keys = ApiKeys(database).list()
    if as_json:
        print(json.dumps([_public(key) for key in keys], indent=2, ensure_ascii=False))
        return
    table = Table("id", "name", "scopes", "created", "state", box=None, pad_edge=False)
    for key in keys:
        state = "enabled" if key.disabled is None else f"disabled {local_time(key.disabled)}"
        scopes = " ".join(key.scopes)
        table.add_row(key.id, Text(key.name), scopes, local_time(key.created), state)
    if keys:
        stdout().print(table)
    else:
        stdout().print("No key yet; `bert keys create --name NAME --scope predict` makes one.")


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


def _public(key: "ApiKeyRow") -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "scopes": key.scopes,
        "created": key.created,
        "disabled": key.disabled,
    }
