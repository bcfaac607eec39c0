"""Progress events of a worker. Standard library only.

If the environment variable ``BERT_PROGRESS_FILE`` names a file, each event is appended to it as a
JSON object on one line, in a single write. Without the variable, as on remote workers, events are
dropped at no cost. Code in the same process can ``listen``.
"""

import json
import os
import time
from collections.abc import Callable

PROGRESS_FILE_VARIABLE = "BERT_PROGRESS_FILE"
#: The model is trained and its export starts.
EXPORT_STARTED = "export_started"
#: The Tuner starts a trial.
TRIAL_STARTED = "trial"

_listeners: list[Callable[[str], None]] = []


def listen(listener: Callable[[str], None]) -> None:
    """Call ``listener`` with the name of each event, in the thread that emits it."""
    _listeners.append(listener)


def emit(event: str, **fields: object) -> None:
    """Append one event.

    Args:
        event: name of the event, e.g. ``"step"``.
        **fields: JSON-serialisable values. Durations are in seconds.
    """
    for listener in _listeners:
        listener(event)
    path = os.environ.get(PROGRESS_FILE_VARIABLE)
    if not path:
        return
    line = json.dumps({"event": event, "time": time.time(), **fields}) + "\n"
    # O_APPEND keeps lines whole when several processes write to one file.
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)
