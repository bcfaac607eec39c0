"""Names of the graph's nodes, without the 15 s of imports that building the graph takes."""

from modules.contract.errors import UserError
from pipeline.config import Config
from pipeline.config_keys import nearest

#: In run order.
NODES = (
    "ExampleGen",
    "StatisticsGen",
    "SchemaGen",
    "ExampleValidator",
    "Transform",
    "Tuner",
    "Trainer",
    "Resolver",
    "Evaluator",
    "InfraValidator",
    "Pusher",
)


def node_names(config: Config) -> tuple[str, ...]:
    """Return the names of the nodes that a config enables, in run order."""
    off = set()
    if not config.tuner.enabled:
        off.add("Tuner")
    if not config.infra_validator.enabled:
        off.add("InfraValidator")
    return tuple(name for name in NODES if name not in off)


def check_node(option: str, name: str | None, config: Config) -> None:
    """Reject the name of a node that is not in the graph.

    Args:
        option: command-line option with the name, such as "--from".
        name: the name; None, if the option was not given, is accepted.
        config: the resolved configuration.

    Raises:
        UserError: the node does not exist. The message lists the nodes and suggests the nearest.
    """
    names = node_names(config)
    if name is None or name in names:
        return
    guess = nearest(name, dict.fromkeys(names))
    hint = f"; did you mean {option} {guess}?" if guess else ""
    raise UserError(f"{option}: must be one of {', '.join(names)}; received {name!r}{hint}")
