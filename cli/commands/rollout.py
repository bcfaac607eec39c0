"""``bert rollout``, ``bert promote`` and ``bert rollback``: who answers, and changing that."""

from typing import TYPE_CHECKING, Annotated

import typer

from cli.commands.options import ConfigOption, JsonOption, SetOption, load_config

if TYPE_CHECKING:
    from pipeline.config import Config
    from serving.records.database import Database
    from serving.rollout.manual import ManualRollout

app = typer.Typer(no_args_is_help=True, help="How a pushed version takes over the traffic.")

ReasonOption = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="Kept with the event, for others.")
]


# Without a callback a single command would not need its name.
@app.callback()
def _group() -> None:
    pass


@app.command()
def status(
    config: ConfigOption = None,
    assignments: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show versions and roles, the candidate's figures against each limit, and the last events."""
    settings = _load(config, assignments)
    import time
    from contextlib import closing

    from cli.screens.rollout import print_status
    from serving.records.database import Database
    from serving.rollout.server_status import AskedServer
    from serving.rollout.status import read_status

    gateway = settings.gateway
    with closing(Database(settings.database_url())) as database:
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
        typer.Argument(metavar="VERSION", help="A pushed version; else the one on trial."),
    ] = None,
    reason: ReasonOption = "by hand",
    wait: Annotated[
        float,
        typer.Option(
            "--wait", metavar="SECONDS", min=0, help="For the model server to load the version."
        ),
    ] = 120.0,
    force: Annotated[
        bool,
        typer.Option("--force", help="Do not ask the model server whether the version loads."),
    ] = False,
    config: ConfigOption = None,
    assignments: SetOption = None,
) -> None:
    """Give a version all traffic now, without waiting for its stages.

    A version that the model server does not hold yet is loaded first. Going back to an older
    version keeps all newer ones from being tried again.
    """
    settings = _load(config, assignments)
    from contextlib import closing

    from cli.terminal import stdout
    from serving.records.database import Database
    from serving.rollout.server_status import AskedServer

    with closing(Database(settings.database_url())) as database:
        rollout = _rollout(settings, database)
        chosen = rollout.choose(version)
        if not force:
            gateway = settings.gateway
            rollout.load(chosen, AskedServer(gateway.server_url, gateway.model_name), wait)
        before = rollout.read().stable
        rollout.promote(chosen, reason)
    stdout().print(
        f"version {chosen} answers everybody; version {before} did, "
        "and `bert rollback` returns to it"
        if before is not None and before < chosen
        else f"version {chosen} answers everybody; newer ones are not tried again by themselves"
    )


def rollback(
    reason: ReasonOption = "by hand",
    config: ConfigOption = None,
    assignments: SetOption = None,
) -> None:
    """Take the version on trial back; without one, return to the version that served before.

    What was rolled back is never tried again by itself. Needs the database and the push
    directory, not the model server.
    """
    settings = _load(config, assignments)
    from contextlib import closing

    from cli.terminal import stdout
    from serving.records.database import Database

    with closing(Database(settings.database_url())) as database:
        rollout = _rollout(settings, database)
        event = rollout.roll_back(reason)
        stable = rollout.read().stable
    stdout().print(f"version {event.version} is rolled back; version {stable} answers everybody")


def _load(config: str | None, assignments: list[str] | None) -> "Config":
    from modules.contract.errors import UserError

    settings = load_config(config, assignments)
    if not settings.rollout.enabled:
        raise UserError(
            "rollout.enabled is false, so the model server serves every pushed version at once; "
            "add --set rollout.enabled=true, and start `bert serve` with it"
        )
    return settings


def _rollout(settings: "Config", database: "Database") -> "ManualRollout":
    from cli.terminal import user_name
    from serving.rollout.manual import ManualRollout

    return ManualRollout(
        database, settings.push_directory(), settings.gateway.model_name, user_name()
    )
