"""Exit of a process: exit code, output and registered functions."""

import subprocess
import sys


def test_end_process_keeps_output_and_runs_exit_functions() -> None:
    code = """
import atexit
from runners.node.node_runner import end_process
atexit.register(print, "last")
print("first")
end_process(3)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (3, "first\nlast\n", "")
