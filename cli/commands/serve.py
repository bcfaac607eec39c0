"""``bert serve``: the embedded model server, with TensorFlow Serving's protocol and flags."""

import logging
from typing import TYPE_CHECKING, Any

import typer

from cli.commands.options import ConfigOption, SetOption, load_config, open_database
from cli.commands.server_options import with_server_options

if TYPE_CHECKING:
    from pipeline.config import Config

_log = logging.getLogger(__name__)

#: The server's default settings under a rollout. Loading a broken candidate fails, and rolls it
#: back, within one minute instead of five.
_DEFAULTS = {
    "model_config_file_poll_wait_seconds": 1.0,
    "allow_version_labels_for_unavailable_models": True,
    "load_retry_interval_micros": 10_000_000,
}


@with_server_options
def serve(
    config: ConfigOption = None,
    assignments: SetOption = None,
    *,
    flags: dict[str, Any],
) -> None:
    """Serve models over REST and gRPC, with TensorFlow Serving's protocol, until Ctrl-C.

    Without --model_base_path and --model_config_file, serves the config's push directory: each
    new version as soon as it is pushed or, with rollout.enabled, the versions that the rollout
    selects, labelled stable and canary.
    """
    from serving.server.settings import ServerSettings

    if not flags.get("model_base_path") and not flags.get("model_config_file"):
        loaded = load_config(config, assignments)
        if loaded.rollout.enabled:
            flags = rollout_flags(loaded, flags)
        else:
            from modules.contract.pushed_model import find_version

            directory = loaded.push_directory()
            find_version(directory)  # its error says what to type when nothing is pushed
            flags = {**flags, "model_base_path": directory}
    from cli.screens.server import ServerDisplay
    from serving.server.model_server import Endpoints, ModelServer
    from serving.server.ready import read_ready_server
    from serving.server.versions import model_config

    settings = ServerSettings(**flags)
    models = model_config.from_settings(settings)
    server = ModelServer(settings)
    with ServerDisplay(models) as display:

        def on_ready(endpoints: Endpoints) -> None:
            display.ready(read_ready_server(endpoints, models))

        code = server.serve(on_listening=display.listening, on_ready=on_ready)
    raise typer.Exit(code)


def rollout_flags(config: "Config", given: dict[str, Any]) -> dict[str, Any]:
    """Return the server's settings under a rollout, adopting a first version if none serves yet.

    Args:
        config: with ``rollout.enabled``.
        given: settings from the command line.

    Raises:
        UserError: nothing is pushed, ``--model_name`` is not the rollout's model, or the database
            cannot be opened and the model config file does not exist.
    """
    from cli.terminal import user_name
    from modules.contract.errors import UserError
    from serving.rollout import model_config_file
    from serving.rollout.manual import ManualRollout

    model = config.gateway.model_name
    if given.get("model_name", model) != model:
        raise UserError(
            f"the rollout is for model {model!r}, received --model_name {given['model_name']!r}; "
            "omit it, or set gateway.model_name"
        )
    file = model_config_file.path(config.push_directory())
    try:
        with open_database(config) as database:
            ManualRollout(database, config.push_directory(), model, user_name()).adopt()
    except UserError as error:
        if not file.is_file():
            raise
        # A restarted server must serve what it served before, even without the database.
        _log.warning("cannot read the rollout, serving its last known versions: %s", error)
    return {**_DEFAULTS, **given, "model_name": model, "model_config_file": str(file)}
