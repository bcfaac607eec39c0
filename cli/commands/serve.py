"""``bert serve``: the embedded model server, with TensorFlow Serving's protocol and flags."""

from pathlib import Path
from typing import Any

import typer

from cli.commands.options import ConfigOption, SetOption, load_config
from cli.commands.server_options import with_server_options


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
            from cli.commands.rollout_serving import rollout_flags

            flags = rollout_flags(loaded, flags)
        else:
            from runners.predict.local import find_version

            directory = loaded.push_directory()
            find_version(Path(directory))  # says what to type when nothing is pushed
            flags = {**flags, "model_base_path": directory}
    from cli.screens.server import ServerDisplay
    from serving.server.model_server import ModelServer
    from serving.server.versions import model_config

    settings = ServerSettings(**flags)
    models = model_config.from_settings(settings)
    server = ModelServer(settings)
    with ServerDisplay(models) as display:
        code = server.serve(on_listening=display.listening, on_ready=display.ready)
    raise typer.Exit(code)
