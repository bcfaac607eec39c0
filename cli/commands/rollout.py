"""``bert rollout``, ``bert promote``, ``bert rollback``: show or change the stable version."""

from typing import TYPE_CHECKING, Annotated

import typer

from cli.commands.options import ConfigOption, JsonOption, SetOption, load_config, open_database

if TYPE_CHECKING:
    from pipeline.config import Config
    from serving.records.database import Database
    from serving.rollout.manual import ManualRollout

app = typer.Typer(no_args_is_help=True, help="Show the rollout of a pushed version.")

ReasonOption = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="Reason to record with the event.")
]


# Keeps ``status`` a subcommand: Typer turns a single command into the group itself.
@app.callback()
def _group() -> None:
    pass


@app.command()
def status(
    config: ConfigOption = None,
    assignments: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show versions with their roles, the candidate's figures and limits, and recent events."""
    settings = _load(config, assignments)
    import time

    from cli.screens.rollout import print_status
    from serving.rollout.server_status import AskedServer
    from serving.rollout.status import read_status

    gateway = settings.gateway
    with open_database(settings) as database:
        found = read_status(
            database,
            settings.push_directory(),
            gateway.model_name,
            settings.rollout,
            AskedServer(gateway.server_url, gateway.model_name),
            time.time(),
        )
    print_status(found, as_json=as_json)


def promote(
    version: Annotated[
        int | None,
        typer.Argument(metavar="VERSION", help="Pushed version; default: the candidate."),
    ] = None,
    reason: ReasonOption = "by hand",
    wait: Annotated[
        float,
        typer.Option(
            "--wait", metavar="SECONDS", min=0, help="Time for the model server to load it."
        ),
    ] = 120.0,
    force: Annotated[
        bool,
        typer.Option("--force", help="Skip the check that the model server can load it."),
    ] = False,
    config: ConfigOption = None,
    assignments: SetOption = None,
) -> None:
    """Send all traffic to a version now, skipping the remaining stages.

    The model server loads the version first if necessary. After an older version was promoted,
    newer ones are not tried again automatically.
    """
    settings = _load(config, assignments)
    from cli.terminal import stdout
    from serving.rollout.server_status import AskedServer

    with open_database(settings) as database:
        rollout = _rollout(settings, database)
        chosen = rollout.choose(version)
        if not force:
            gateway = settings.gateway
            rollout.load(chosen, AskedServer(gateway.server_url, gateway.model_name), wait)
        before = rollout.read().stable
        rollout.promote(chosen, reason)
    stdout().print(
        f"version {chosen} receives all traffic; `bert rollback` returns to version {before}"
        if before is not None and before < chosen
        else f"version {chosen} receives all traffic; newer ones are not tried again automatically"
    )


def rollback(
    reason: ReasonOption = "by hand",
    config: ConfigOption = None,
    assignments: SetOption = None,
) -> None:
    """Roll back the candidate or, without one, return to the previous stable version.

    A version that was rolled back is never tried again automatically. Needs the database and the
    push directory, but no model server.
    """
    settings = _load(config, assignments)
    from cli.terminal import stdout

    with open_database(settings) as database:
        rollout = _rollout(settings, database)
        event = rollout.roll_back(reason)
        stable = rollout.read().stable
    stdout().print(f"version {event.version} is rolled back; version {stable} receives all traffic")


def _load(config: str | None, assignments: list[str] | None) -> "Config":
    from modules.contract.errors import UserError

    settings = load_config(config, assignments)
    if not settings.rollout.enabled:
        raise UserError(
            "rollout.enabled is false, so the model server serves each new version immediately; "
            "add --set rollout.enabled=true, also to `bert serve`"
        )
    return settings


def _rollout(settings: "Config", database: "Database") -> "ManualRollout":
    from cli.terminal import user_name
    from serving.rollout.manual import ManualRollout

    return ManualRollout(
        database, settings.push_directory(), settings.gateway.model_name, user_name()
    )
