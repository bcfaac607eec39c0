"""The embedded model server in its own process, for the InfraValidator.

    python -m components.infra_validation.embedded_server BASE_PATH ENDPOINTS.json

Serves the versions under BASE_PATH on free loopback ports. Once it listens, it writes its addresses
to ENDPOINTS.json: ``{"rest": "http://127.0.0.1:...", "grpc": "grpc://127.0.0.1:..."}``. It exits on
SIGTERM, and when its parent process has exited.
"""

import json
import os
import signal
import sys
import threading
import time

from modules.contract.atomic_file import write_text
from serving.server import model_server
from serving.server.settings import ServerSettings

MODEL_NAME = "candidate"
_POLL_SECONDS = 1.0
_LOOK_SECONDS = 0.1


def main(base_path: str, endpoints_path: str) -> int:
    """Serve until a signal arrives, and return the exit status.

    Args:
        base_path: folder of the versions; may be empty at first.
        endpoints_path: file to write the addresses to.
    """

    def announce(listening: model_server.Endpoints) -> None:
        endpoints = {
            "rest": f"http://{listening.host}:{listening.rest_api_port}",
            "grpc": f"grpc://{listening.host}:{listening.port}",
        }
        write_text(endpoints_path, json.dumps(endpoints))

    settings = ServerSettings(
        port=0,
        rest_api_port=0,
        model_name=MODEL_NAME,
        model_base_path=base_path,
        # Polled often, because the folder may still be empty.
        file_system_poll_wait_seconds=_LOOK_SECONDS,
        # The first failure is the result; retrying would only delay it.
        max_num_load_retries=0,
        # Serve the signature that was requested: its answers are compared with the trainer's.
        precision="float32",
        drain_seconds=1,
    )
    threading.Thread(target=_end_with, args=[os.getppid()], daemon=True).start()
    return model_server.run(settings, announce)


def _end_with(parent: int) -> None:
    """End this process after its parent, which may be killed before it can end this one."""
    while os.getppid() == parent:
        time.sleep(_POLL_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
