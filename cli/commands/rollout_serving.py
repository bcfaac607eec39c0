"""How ``bert serve`` runs where a rollout says which versions are served."""

import logging
from contextlib import closing
from typing import Any

from cli.user_name import user_name
from modules.contract.errors import UserError
from pipeline.config import Config
from serving.records.database import Database
from serving.rollout import model_config_file
from serving.rollout.manual import ManualRollout

_log = logging.getLogger(__name__)

#: The server's settings where the command line says nothing else. A candidate that cannot be
#: loaded is given up, and so rolled back, within a minute instead of five.
_DEFAULTS = {
    "model_config_file_poll_wait_seconds": 1.0,
    "allow_version_labels_for_unavailable_models": True,
    "load_retry_interval_micros": 10_000_000,
}


def rollout_flags(config: Config, given: dict[str, Any]) -> dict[str, Any]:
    """The server's settings; the first version is adopted where none serves yet.

    Args:
        config: with ``rollout.enabled``.
        given: settings from the command line.

    Raises:
        UserError: nothing is pushed, the database cannot be opened and the file that it stands
            behind is not there either, or the model is to have another name.
    """
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
