"""Run the embedded server for the suite: ``start_server.py SETTINGS_JSON``.

It prints its endpoints as one line of JSON when every model is ready.
"""

import dataclasses
import json
import logging
import sys

from serving.server import model_server
from serving.server.settings import ServerSettings


def main() -> int:
    logging.basicConfig(level=logging.WARNING)
    return model_server.run(
        ServerSettings(**json.loads(sys.argv[1])),
        on_ready=lambda endpoints: print(json.dumps(dataclasses.asdict(endpoints)), flush=True),
    )


if __name__ == "__main__":
    sys.exit(main())
