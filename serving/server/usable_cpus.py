"""How many processors this process may use: fewer than the machine has, in most containers."""

import math
import os
from pathlib import Path

#: "QUOTA PERIOD" in microseconds, or "max PERIOD"
#: (https://docs.kernel.org/admin-guide/cgroup-v2.html#cpu-interface-files).
_CGROUP_V2 = Path("/sys/fs/cgroup/cpu.max")


def usable_cpus(cpu_max: Path = _CGROUP_V2) -> int:
    """Processors that the scheduler lets this process run on, and the quota of its container.

    Args:
        cpu_max: the control group's file; one that is not there, or says "max", sets no quota.

    Returns:
        At least 1; a quota of part of a processor counts as one.
    """
    # Only Linux has the first.
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    allowed = allowed or 1
    try:
        quota, period = cpu_max.read_text("ascii").split()
        return max(1, min(allowed, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError, ZeroDivisionError):
        return allowed
