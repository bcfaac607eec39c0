"""Progress events from a worker to whoever watches it. Standard library only.

A watcher names a file in the environment variable ``BERT_PROGRESS_FILE``; each event is one JSON
object on one line, appended in a single write. Without the variable, events go nowhere: code on a
remote worker emits them all the same and pays nothing. Code of the same process may ``listen``.
"""

import json
import os
import time
from collections.abc import Callable

PROGRESS_FILE_VARIABLE = "BERT_PROGRESS_FILE"
#: The model is trained; what follows is its export.
EXPORT_STARTED = "export_started"
#: The Tuner begins a trial.
TRIAL_STARTED = "trial"

_listeners: list[Callable[[str], None]] = []


def listen(listener: Callable[[str], None]) -> None:
    """Have ``listener`` called with the name of each event, in the thread that emits it."""
    _listeners.append(listener)


def emit(event: str, **fields: object) -> None:
    """Append one event.

    Args:
        event: what happened, e.g. ``"step"``.
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
