"""Number of processors that this process may use, which a container often limits."""

import math
import os
from pathlib import Path

#: "QUOTA PERIOD" in microseconds, or "max PERIOD"
#: (https://docs.kernel.org/admin-guide/cgroup-v2.html#cpu-interface-files).
_CGROUP_V2 = Path("/sys/fs/cgroup/cpu.max")


def usable_cpus(cpu_max: Path = _CGROUP_V2) -> int:
    """Return the number of processors within this process's CPU affinity and container quota.

    Args:
        cpu_max: file of the control group; a missing file, or "max", sets no quota.

    Returns:
        At least 1; a fractional quota is rounded up.
    """
    # Only Linux has sched_getaffinity.
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    allowed = allowed or 1
    try:
        quota, period = cpu_max.read_text("ascii").split()
        return max(1, min(allowed, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError, ZeroDivisionError):
        return allowed
