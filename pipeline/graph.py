"""The graph of components and their connections, the same for every runner."""

import dataclasses
from collections.abc import Callable, Iterator

from tfx.dsl.components.base.base_node import BaseNode

from components.code_digest import code_digest
from components.evaluator import make_evaluator
from components.example_gen import make_example_gen
from components.example_validator import make_example_validator
from components.infra_validator import ENTRY_MODULES as INFRA_VALIDATION
from components.infra_validator import make_infra_validator
from components.model_resolver import make_model_resolver
from components.pusher import make_pusher
from components.schema_gen import make_schema_gen
from components.statistics_gen import make_statistics_gen
from components.trainer import make_trainer
from components.transform import make_transform
from components.tuner import make_tuner
from pipeline.config import Config


@dataclasses.dataclass(frozen=True)
class Components:
    """Nodes of the graph, in run order. ``tuner`` and ``infra_validator`` are None if off."""

    example_gen: BaseNode
    statistics_gen: BaseNode
    schema_gen: BaseNode
    example_validator: BaseNode
    transform: BaseNode
    tuner: BaseNode | None
    trainer: BaseNode
    model_resolver: BaseNode
    evaluator: BaseNode
    infra_validator: BaseNode | None
    pusher: BaseNode

    def __iter__(self) -> Iterator[BaseNode]:
        """Yield the enabled nodes, in run order."""
        nodes = (getattr(self, field.name) for field in dataclasses.fields(self))
        return (node for node in nodes if node is not None)


def build_components(
    config: Config, make_resolver: Callable[..., BaseNode] = make_model_resolver
) -> Components:
    """Create and connect the components of a pipeline.

    Args:
        config: the resolved configuration.
        make_resolver: creates the node that resolves the baseline, given the candidate as
            ``model``. The default queries ML Metadata; runners without access to it pass another.

    Returns:
        The connected nodes. Nothing has run yet.
    """
    example_gen = make_example_gen(
        **config.example_gen_arguments(), code_digest=code_digest("components.example_gen")
    )
    examples = example_gen.outputs["examples"]
    statistics_gen = make_statistics_gen(examples=examples)
    statistics = statistics_gen.outputs["statistics"]
    schema_gen = make_schema_gen(statistics=statistics, schema_file=config.curated_schema_file())
    schema = schema_gen.outputs["schema"]
    example_validator = make_example_validator(
        statistics=statistics,
        schema=schema,
        blocking_severity=config.example_validator.blocking_severity,
    )
    text = config.text_settings()
    transform = make_transform(examples=examples, schema=schema, text=text)
    # Anomalies must stop the run before a model is trained on them.
    transform.add_upstream_node(example_validator)

    learning_inputs = {
        "examples": transform.outputs["transformed_examples"],
        "transform_graph": transform.outputs["transform_graph"],
        "schema": schema,
        "text": text,
        "hparams": config.hparams(),
        "training": config.training_settings(
            checkpoint_directory=f"{config.pipeline_root()}/checkpoints"
        ),
    }
    tuner = None
    if config.tuner.enabled:
        tuner = make_tuner(**learning_inputs, tuner=config.tuner_settings())
    trainer = make_trainer(
        **learning_inputs,
        hyperparameters=tuner.outputs["best_hyperparameters"] if tuner else None,
    )
    model = trainer.outputs["model"]
    model_resolver = make_resolver(model=model)
    evaluator = make_evaluator(
        examples=examples,
        model=model,
        baseline_model=model_resolver.outputs["model"],
        schema=schema,
        **config.evaluator_arguments(),
        code_digest=code_digest("components.evaluator"),
    )
    infra_validator = None
    if config.infra_validator.enabled:
        infra_validator = make_infra_validator(
            model=model,
            examples=examples,
            **config.infra_validator_arguments(),
            code_digest=code_digest(*INFRA_VALIDATION),
        )
    pusher = make_pusher(
        model=model,
        model_blessing=evaluator.outputs["blessing"],
        infra_blessing=infra_validator.outputs["blessing"] if infra_validator else None,
        **config.pusher_arguments(),
        code_digest=code_digest("components.pusher"),
    )
    return Components(
        example_gen=example_gen,
        statistics_gen=statistics_gen,
        schema_gen=schema_gen,
        example_validator=example_validator,
        transform=transform,
        tuner=tuner,
        trainer=trainer,
        model_resolver=model_resolver,
        evaluator=evaluator,
        infra_validator=infra_validator,
        pusher=pusher,
    )
