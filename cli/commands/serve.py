"""``bert serve``: the embedded model server, with TensorFlow Serving's protocol and flags."""

import logging
from contextlib import closing
from typing import TYPE_CHECKING, Any

import typer

from cli.commands.options import ConfigOption, SetOption, load_config
from cli.commands.server_options import with_server_options

if TYPE_CHECKING:
    from pipeline.config import Config

_log = logging.getLogger(__name__)

#: The server's settings where the command line says nothing else. A candidate that cannot be
#: loaded is given up, and so rolled back, within a minute instead of five.
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

    Without --model_base_path and --model_config_file: what the config's pusher pushed. New
    versions in the folder are served as they come; with rollout.enabled, those that the rollout
    names, labelled stable and canary.
    """
    from serving.server.settings import ServerSettings

    if not flags.get("model_base_path") and not flags.get("model_config_file"):
        loaded = load_config(config, assignments)
        if loaded.rollout.enabled:
            flags = rollout_flags(loaded, flags)
        else:
            from modules.contract.pushed_model import find_version

            directory = loaded.push_directory()
            find_version(directory)  # says what to type when nothing is pushed
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
    """The server's settings; the first version is adopted where none serves yet.

    Args:
        config: with ``rollout.enabled``.
        given: settings from the command line.

    Raises:
        UserError: nothing is pushed, the database cannot be opened and the file that it stands
            behind is not there either, or the model is to have another name.
    """
    from cli.terminal import user_name
    from modules.contract.errors import UserError
    from serving.records.database import Database
    from serving.rollout import model_config_file
    from serving.rollout.manual import ManualRollout

    model = config.gateway.model_name
    if given.get("model_name", model) != model:
        raise UserError(
            f"the rollout is of model {model!r}, and --model_name is {given['model_name']!r}; "
            "leave it out, or set gateway.model_name"
        )
    file = model_config_file.path(config.push_directory())
    try:
        with closing(Database(config.database_url())) as database:
            ManualRollout(database, config.push_directory(), model, user_name()).adopt()
    except UserError as error:
        if not file.is_file():
            raise
        # A server that is back serves what it served, whatever else is down.
        _log.warning("the rollout cannot be read, so what it said last is served: %s", error)
    return {**_DEFAULTS, **given, "model_name": model, "model_config_file": str(file)}
