"""Failed calls and used memory while versions are swapped and workers are killed."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from serving.protocol.errors import Code
from serving.server.settings import ServerSettings
from serving.server.versions.manager import ModelManager
from tests.serving import half_plus_two
from tests.serving.server import swaps

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[3]


def test_swaps_fail_no_call_and_leak_no_memory(tmp_path) -> None:
    command = [sys.executable, "-m", swaps.__name__, str(tmp_path), "20"]
    done = subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads(done.stdout)
    assert report["errors"] == []
    assert report["versions"] == list(range(1, 22))
    assert report["memory"][19] <= 1.05 * report["memory"][2]


def test_killed_worker_fails_only_the_calls_it_was_running(tmp_path) -> None:
    for model in ("one", "two"):
        half_plus_two.write(tmp_path / model / "1", increment=1.0)
    config = tmp_path / "models.config"
    config.write_text(
        "model_config_list {"
        + "".join(
            f'config {{ name: "{name}" base_path: "{tmp_path / name}" '
            'model_platform: "tensorflow" }'
            for name in ("one", "two")
        )
        + "}"
    )
    manager = ModelManager(ServerSettings(model_config_file=str(config)))
    manager.start()
    assert manager.wait_until_ready(swaps.PATIENCE)
    killed, others = swaps.Clients(manager, "one"), swaps.Clients(manager, "two", 2)
    kills = 5
    for _ in range(kills):
        killed.ask_more(200)
        with manager.acquire("one") as servable:
            os.kill(servable.worker_pid, signal.SIGKILL)
    killed.ask_more(200)
    others.ask_more(200)
    killed.stop()
    others.stop()
    assert others.errors == []
    assert {error.code for error in killed.errors} <= {Code.UNAVAILABLE}
    # A client makes one call at a time, and no call fails that begins after the death is noticed.
    assert len(killed.errors) <= kills * swaps.CLIENTS
    assert manager.ready()
    manager.stop()
