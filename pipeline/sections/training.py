"""Settings of Trainer and Tuner."""

import dataclasses
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from modules.contract.hparams import (
    ClassWeights,
    EarlyStoppingMetric,
    HParams,
    Precision,
    TextSettings,
    TrainingSettings,
    Truncation,
    TunerSettings,
)
from modules.contract.search_space import check_search, check_search_space
from pipeline.config_keys import legal
from pipeline.sections.section import Section


class TrainerSection(Section):
    """Training of the classifier. The Tuner may override hyper-parameters."""

    encoder: str = Field(
        TextSettings.encoder,
        min_length=1,
        description='"minilm" (bundled), a Hugging Face folder (PATH or hf://PATH), '
        "keras://PRESET or tfhub://HANDLE.",
    )
    max_length: int = Field(
        TextSettings.max_length,
        ge=8,
        le=512,
        description="Tokens per text, including start and end tokens.",
    )
    truncation: Truncation = Field(
        TextSettings.truncation, description="Part of a longer text to keep."
    )
    freeze_encoder: bool = Field(
        HParams.freeze_encoder, description="Train only the classification head."
    )
    epochs: int = Field(
        HParams.epochs, ge=0, le=1000, description="Passes over the train split; 0 trains nothing."
    )
    batch_size: int = Field(
        HParams.batch_size, ge=1, le=4096, description="Examples per step, over all devices."
    )
    learning_rate: float = Field(
        HParams.learning_rate, gt=0, le=1, description="AdamW's peak learning rate."
    )
    warmup_fraction: float = Field(
        HParams.warmup_fraction,
        ge=0,
        le=1,
        description="Share of the steps in which the learning rate rises from 0.",
    )
    weight_decay: float = Field(
        HParams.weight_decay, ge=0, le=1, description="AdamW's decoupled weight decay."
    )
    dropout: float = Field(
        HParams.dropout,
        ge=0,
        le=0.9,
        description="Dropout rate in the encoder and before the head.",
    )
    class_weights: ClassWeights = Field(
        HParams.class_weights, description='"balanced" gives rare classes more weight.'
    )
    precision: Precision = Field(
        TrainingSettings.precision,
        description='Number format; "auto" is bfloat16 on hardware where that is fast.',
    )
    xla: bool = Field(TrainingSettings.xla, description="Compile the training step with XLA.")
    early_stopping_patience: int = Field(
        TrainingSettings.early_stopping_patience,
        ge=0,
        description="Epochs without a better eval metric before training stops; 0 disables it.",
    )
    early_stopping_metric: EarlyStoppingMetric = Field(
        TrainingSettings.early_stopping_metric,
        description="Metric that selects the best epoch, whose weights are kept.",
    )
    seed: int = Field(
        TrainingSettings.seed,
        ge=0,
        le=2**31 - 1,
        description="The same seed on the same CPU gives the same weights.",
    )
    checkpoint_every_steps: int = Field(
        TrainingSettings.checkpoint_every_steps,
        ge=0,
        description="Steps between checkpoints; 0 saves only at the end of each epoch.",
    )
    tensorboard: bool = Field(TrainingSettings.tensorboard, description="Write TensorBoard logs.")
    expected_answers: int = Field(
        TrainingSettings.expected_answers,
        ge=1,
        le=1000,
        description="Eval texts exported with the trainer's own scores, for InfraValidator.",
    )


class TunerSection(Section):
    """The search for better hyper-parameters."""

    enabled: bool = Field(False, description="Search before training.")
    algorithm: Literal["random", "grid", "hyperband", "bayesian"] = Field(
        TunerSettings.algorithm, description="Search algorithm."
    )
    objective: Literal["val_accuracy", "val_loss"] = Field(
        TunerSettings.objective, description="Metric that ranks trials, on the eval split."
    )
    max_trials: int = Field(
        TunerSettings.max_trials, ge=1, le=10_000, description="Maximum number of trials."
    )
    epochs: int = Field(
        TunerSettings.epochs, ge=1, le=1000, description="Maximum number of epochs per trial."
    )
    early_stopping_patience: int = Field(
        TunerSettings.early_stopping_patience,
        ge=0,
        description="Epochs without a better objective before a trial stops.",
    )
    search_space: dict[str, dict[str, Any]] = Field(
        default={
            "learning_rate": {"min": 1e-5, "max": 1e-4, "sampling": "log"},
            "batch_size": {"values": [16, 32]},
        },
        description="Hyper-parameters to tune, each with {values = [...]} or {min, max, sampling, "
        "step}.",
        json_schema_extra={"legal": "a table of hyper-parameter names"},
    )

    @field_validator("search_space")
    @classmethod
    def _check_search_space(cls, value: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        check_search_space(value)
        for name, dimension in value.items():
            bounds = [dimension[bound] for bound in ("min", "max") if bound in dimension]
            for candidate in dimension.get("values", bounds):
                _check_trainer_value(name, candidate)
        return value

    @model_validator(mode="after")
    def _check_search(self) -> Self:
        if self.enabled:
            names = [field.name for field in dataclasses.fields(TunerSettings)]
            settings = TunerSettings(**{name: getattr(self, name) for name in names})
            try:
                check_search(settings)
            except ValueError as error:
                raise ValueError(f"search_space: {error}") from error
        return self


def _check_trainer_value(name: str, value: Any) -> None:
    """Apply the rule of the key in ``[trainer]`` to a value that a trial may use."""
    try:
        TrainerSection.model_validate({name: value})
    except ValidationError as error:
        rule = legal(TrainerSection.model_fields[name])
        raise ValueError(f"{name} must be {rule}, received {value!r}") from error
