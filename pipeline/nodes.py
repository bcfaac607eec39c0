"""Names of the graph's nodes, known without building it: building it takes 15 s of imports."""

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
    """The nodes that a config switches on, in run order."""
    off = set()
    if not config.tuner.enabled:
        off.add("Tuner")
    if not config.infra_validator.enabled:
        off.add("InfraValidator")
    return tuple(name for name in NODES if name not in off)


def check_node(option: str, name: str | None, config: Config) -> None:
    """Refuse a node that the graph does not have.

    Args:
        option: where the name was given, such as "--from".
        name: the name; None is no choice, and legal.
        config: the resolved configuration.

    Raises:
        UserError: no such node; names the legal ones and the nearest.
    """
    names = node_names(config)
    if name is None or name in names:
        return
    guess = nearest(name, dict.fromkeys(names))
    hint = f"; did you mean {option} {guess}?" if guess else ""
    raise UserError(f"{option}: legal are {', '.join(names)}; received {name!r}{hint}")
