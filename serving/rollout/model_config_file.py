"""The model server's config file, a text ``ModelServerConfig`` with the versions to load.

Written without the protocol buffers, whose import would take most of the time of ``bert rollback``;
a test reads it back with them. Stock TensorFlow Serving reads it too.
"""

import contextlib
import os
from pathlib import Path

from modules.contract.atomic_file import whole_file
from modules.contract.errors import UserError
from serving.rollout.state import CANARY, RolloutState, RolloutStore

#: Below the push directory. Not a number, so that no server takes the folder for a version.
_FOLDER, _NAME = ".rollout", "models.txt"

#: Labels in the file. "canary" exists while the candidate answers a share of the traffic.
STABLE_LABEL, CANARY_LABEL = "stable", "canary"


def check_directory(push_directory: str) -> None:
    """Refuse a push directory that a rollout cannot write to.

    Raises:
        UserError: the directory is not on a file system.
    """
    if "://" in push_directory:
        raise UserError(
            "a rollout needs the pushed versions on a file system, but pusher.base_directory is "
            f"{push_directory}; set it to a folder, or set rollout.enabled=false"
        )


def path(push_directory: str | os.PathLike[str]) -> Path:
    """Return the path of the file in a push directory."""
    return Path(push_directory) / _FOLDER / _NAME


def text(state: RolloutState, push_directory: str | os.PathLike[str]) -> str:
    """Return the content of the file for a state.

    Args:
        state: state of the rollout; ``stable`` is set.
        push_directory: absolute path of the pushed versions.
    """
    labels = {STABLE_LABEL: state.stable}
    if state.stage == CANARY:
        labels[CANARY_LABEL] = state.candidate
    versions = "".join(f"        versions: {version}\n" for version in state.served)
    return (
        f"# Written by the rollout, revision {state.revision}; changes by hand are lost.\n"
        "model_config_list {\n"
        "  config {\n"
        f"    name: {_quoted(state.model)}\n"
        f"    base_path: {_quoted(os.fspath(push_directory))}\n"
        '    model_platform: "tensorflow"\n'
        "    model_version_policy {\n"
        "      specific {\n"
        f"{versions}"
        "      }\n"
        "    }\n"
        + "".join(
            f'    version_labels {{ key: "{label}" value: {version} }}\n'
            for label, version in labels.items()
        )
        + "  }\n"
        "}\n"
    )


def write(state: RolloutState, push_directory: str | os.PathLike[str]) -> bool:
    """Write the file for a state, if it differs.

    The file is replaced atomically: a server that polls it reads the old one or the new one.

    Returns:
        Whether it was written.

    Raises:
        OSError: the file cannot be written.
    """
    file, wanted = path(push_directory), text(state, push_directory)
    with contextlib.suppress(FileNotFoundError, UnicodeDecodeError):
        if file.read_text("utf-8") == wanted:
            return False
    with whole_file(file) as stream:
        # Regardless of the umask: the server may run as another user.
        os.fchmod(stream.fileno(), 0o644)
        stream.write(wanted)
    return True


def synchronise(
    store: RolloutStore, model: str, push_directory: str | os.PathLike[str]
) -> RolloutState | None:
    """Write the file for the state in the database, also if that changes in the meantime.

    Returns:
        The state in the file; None without a rollout.

    Raises:
        SQLAlchemyError: the database failed or is unavailable.
        OSError: the file cannot be written.
    """
    state = store.read(model)
    while state is not None:
        write(state, push_directory)
        # The last writer must write the newest state, or an old one would stay.
        latest = store.read(model)
        if latest == state:
            break
        state = latest
    return state


def _quoted(words: str) -> str:
    """Return a string in the text format, with special bytes escaped."""
    plain = set(range(0x20, 0x7F)) - {ord('"'), ord("'"), ord("\\")}
    inner = "".join(
        chr(byte) if byte in plain else f"\\{byte:03o}"
        for byte in words.encode("utf-8", "surrogateescape")
    )
    return f'"{inner}"'
