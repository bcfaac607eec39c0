"""Which worker of a training or search this process is, from ``TF_CONFIG``.

Standard library only.
"""

import json
import os
from collections.abc import Mapping

from modules.contract.errors import UserError

_ROLES = ("chief", "worker")  # in the order of the workers' numbers
_LEGAL = '{"cluster": {"worker": ["HOST:PORT", ...]}, "task": {"type": "worker", "index": 0}}'


def place(environ: Mapping[str, str] = os.environ) -> tuple[int, int] | None:
    """This process's number among the workers and how many there are; None: it is alone.

    Args:
        environ: where ``TF_CONFIG`` is looked up.

    Raises:
        UserError: ``TF_CONFIG`` describes no cluster of equal workers.
    """
    text = environ.get("TF_CONFIG", "")
    if not text:
        return None
    try:
        config = json.loads(text)
        cluster = {role: list(hosts) for role, hosts in config.get("cluster", {}).items()}
        task = config.get("task", {})
        role, number = str(task.get("type", "")), int(task.get("index", 0))
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f"TF_CONFIG: legal is {_LEGAL}; received other JSON ({error})") from error
    if sum(map(len, cluster.values())) < 2:
        return None
    members = [(role, number) for role in _ROLES for number in range(len(cluster.get(role, ())))]
    others = sorted(set(cluster) - set(_ROLES))
    if others or (role, number) not in members:
        raise UserError(
            f"TF_CONFIG: legal is {_LEGAL}, with chief and worker alone; received the roles "
            f"{', '.join(sorted(cluster))} and the task {role or 'none'} {number}"
        )
    return members.index((role, number)), len(members)


def chief_address(environ: Mapping[str, str] = os.environ) -> str:
    """HOST:PORT of worker 0.

    Args:
        environ: where ``TF_CONFIG`` is looked up; ``place`` has accepted it.
    """
    cluster = json.loads(environ["TF_CONFIG"])["cluster"]
    return str(next(hosts[0] for role in _ROLES if (hosts := cluster.get(role))))
