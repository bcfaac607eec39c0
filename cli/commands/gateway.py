"""``bert gateway``: the HTTP API for predictions and feedback, in front of a model server."""

from typing import TYPE_CHECKING, Annotated

import typer

from cli.commands.options import ConfigOption, SetOption, load_config

if TYPE_CHECKING:
    from pipeline.config import Config
    from serving.gateway.settings import GatewaySettings

HostOption = Annotated[
    str | None, typer.Option("--host", metavar="ADDRESS", help="Overrides gateway.host.")
]
PortOption = Annotated[
    int | None,
    typer.Option("--port", metavar="N", help="Overrides gateway.port; 0 selects a free one."),
]
ServerOption = Annotated[
    str | None,
    typer.Option("--server_url", metavar="URL", help="Overrides gateway.server_url."),
]


def gateway(
    host: HostOption = None,
    port: PortOption = None,
    server_url: ServerOption = None,
    config: ConfigOption = None,
    assignments: SetOption = None,
) -> None:
    """Serve the HTTP API for predictions and feedback, with a page to try it, until Ctrl-C.

    Needs a running model server: `bert serve` or TensorFlow Serving. Logs one JSON line per
    request to standard error.
    """
    import json

    given = {"host": host, "port": port, "server_url": server_url}
    own = [
        f"gateway.{key}={json.dumps(value)}" for key, value in given.items() if value is not None
    ]
    loaded = load_config(config, [*(assignments or []), *own])

    from cli.screens.server import print_listening
    from runners.lineage.version_evaluation import VersionEvaluations
    from serving.gateway import server

    settings = gateway_settings(loaded)
    server.run(
        settings,
        VersionEvaluations(loaded).read,
        lambda url, keyless: print_listening(url, settings, keyless=keyless),
    )


def gateway_settings(config: "Config") -> "GatewaySettings":
    """Return the gateway's settings: ``[gateway]``, and what it needs from other sections."""
    from components.ingestion.splitting import SplitWeights
    from serving.gateway.settings import GatewaySettings

    return GatewaySettings(
        database_url=config.database_url(),
        push_directory=config.push_directory(),
        rollouts=config.rollout.enabled,
        canary_share=config.rollout.canary_share,
        min_votes=config.feedback.min_votes,
        split_of=SplitWeights.from_mapping(config.data.split.model_dump()).split_of,
        **config.gateway.model_dump(),
    )
