"""The place of this process among the workers of a training or search, from ``TF_CONFIG``.

Standard library only.
"""

import json
import os
from collections.abc import Mapping

from modules.contract.errors import UserError

_ROLES = ("chief", "worker")  # in the order of the workers' numbers
_EXAMPLE = '{"cluster": {"worker": ["HOST:PORT", ...]}, "task": {"type": "worker", "index": 0}}'


def place(environ: Mapping[str, str] = os.environ) -> tuple[int, int] | None:
    """Return this process's number among the workers, and the number of workers.

    Args:
        environ: environment variables with ``TF_CONFIG``.

    Returns:
        ``(number, count)`` with the number counted from 0, or None for a single process.

    Raises:
        UserError: ``TF_CONFIG`` is malformed, or has roles other than chief and worker.
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
        raise UserError(
            f"TF_CONFIG: must be like {_EXAMPLE}; received {text!r} ({error})"
        ) from error
    if sum(map(len, cluster.values())) < 2:
        return None
    members = [(role, number) for role in _ROLES for number in range(len(cluster.get(role, ())))]
    others = sorted(set(cluster) - set(_ROLES))
    if others or (role, number) not in members:
        raise UserError(
            f"TF_CONFIG: must be like {_EXAMPLE}, with the roles chief and worker only; received "
            f"the roles {', '.join(sorted(cluster))} and the task {role or 'none'} {number}"
        )
    return members.index((role, number)), len(members)


def chief_address(environ: Mapping[str, str] = os.environ) -> str:
    """Return HOST:PORT of worker 0.

    Args:
        environ: environment variables with a ``TF_CONFIG`` that ``place`` accepts.
    """
    cluster = json.loads(environ["TF_CONFIG"])["cluster"]
    return str(next(hosts[0] for role in _ROLES if (hosts := cluster.get(role))))
