"""The versions that were pushed."""

import os

from modules.contract.errors import UserError
from serving.server.versions import version_source


def check_directory(push_directory: str) -> None:
    """Refuse a push directory that a rollout cannot write to.

    Raises:
        UserError: it is not on a file system.
    """
    if "://" in push_directory:
        raise UserError(
            "a rollout needs the pushed versions on a file system, and pusher.base_directory is "
            f"{push_directory}; set it to a folder, or rollout.enabled=false"
        )


def pushed_versions(push_directory: str) -> list[int]:
    """Numbers of the versions under a push directory, rising.

    A folder without a model in it counts for nothing: somebody may be copying it.
    """
    if not os.path.isdir(push_directory):
        return []
    found = version_source.find_versions(push_directory)
    return sorted(
        number
        for number, folder in found.items()
        if os.path.isfile(os.path.join(folder, "saved_model.pb"))
    )
