"""The end of a process: its code, its output and what was to run last are kept."""

import subprocess
import sys


def test_output_and_what_was_registered_are_kept() -> None:
    code = """
import atexit
from runners.node.node_runner import end_process
atexit.register(print, "last")
print("first")
end_process(3)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (3, "first\nlast\n", "")
