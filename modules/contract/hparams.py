"""Hyper-parameters (what the Tuner may change) and the rest of a training run's settings.

Standard library only: the config, the graph and the workers all import it. The records travel to
workers as JSON in a component's ``custom_config``.
"""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Literal, Self

Truncation = Literal["head", "tail", "head+tail"]
ClassWeights = Literal["none", "balanced"]
EarlyStoppingMetric = Literal["val_accuracy", "val_loss"]
Precision = Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"]


class _JsonRecord:
    """A dataclass that goes to JSON and back, and refuses keys it does not know."""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Make the record from a mapping.

        Raises:
            ValueError: a key is unknown; the message lists the legal ones.
        """
        legal = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
        unknown = sorted(set(values) - legal)
        if unknown:
            raise ValueError(f"{cls.__name__}: unknown {unknown}; legal: {sorted(legal)}")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """The record as plain JSON types."""
        return dataclasses.asdict(self)  # type: ignore[call-overload,no-any-return]

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Make the record from ``to_json``'s output."""
        return cls.from_dict(json.loads(text))

    def to_json(self) -> str:
        """The record as JSON with sorted keys, so that equal records give equal text."""
        return json.dumps(self.to_dict(), sort_keys=True)


@dataclasses.dataclass(frozen=True)
class HParams(_JsonRecord):
    """What the Tuner may change. Names are those of the search space in the config file.

    Attributes:
        learning_rate: AdamW's peak learning rate. 2e-4 suits small encoders; BERT-base and larger
            ones want 2e-5 to 5e-5.
        batch_size: examples a step, over all replicas.
        epochs: passes over the train split; 0 exports the untrained classifier.
        warmup_fraction: share of all steps in which the learning rate rises linearly from 0.
        weight_decay: AdamW's decoupled decay; biases and layer norms are left out.
        dropout: rate inside the encoder and before the classification head.
        freeze_encoder: train the head alone.
        class_weights: "balanced" weighs each class by total / (classes * count).
    """

    learning_rate: float = 2e-4
    batch_size: int = 16
    epochs: int = 3
    warmup_fraction: float = 0.1
    weight_decay: float = 0.01
    dropout: float = 0.1
    freeze_encoder: bool = False
    class_weights: ClassWeights = "none"


@dataclasses.dataclass(frozen=True)
class TextSettings(_JsonRecord):
    """How text becomes token ids. The same for Transform, training and serving.

    Attributes:
        encoder: "minilm", a Hugging Face folder ("PATH" or "hf://PATH"), a keras-hub preset
            ("keras://bert_tiny_en_uncased") or a TF Hub handle ("tfhub://PATH-or-URL").
        max_length: tokens a text, start and end tokens included.
        truncation: which part of a longer text is kept.
    """

    encoder: str = "minilm"
    max_length: int = 128
    truncation: Truncation = "head"


@dataclasses.dataclass(frozen=True)
class TrainingSettings(_JsonRecord):
    """What a training run needs beside hparams and text settings.

    Attributes:
        precision: Keras dtype policy; "auto" is bfloat16 where the hardware is fast at it.
        xla: compile the training step with XLA.
        seed: seeds Python, NumPy, TensorFlow, shuffling and initialisers.
        early_stopping_patience: epochs without a better eval metric before training stops; the
            best epoch's weights are kept. 0 never stops early and keeps the last.
        early_stopping_metric: "val_accuracy" or "val_loss". A fine-tuned encoder's loss rises while
            its accuracy still does: it grows sure of itself.
        checkpoint_directory: where resumable checkpoints live; "" keeps none.
        checkpoint_every_steps: steps between checkpoints; 0 saves at epoch ends alone.
        tensorboard: write TensorBoard logs to the ModelRun artifact.
        expected_answers: how many eval texts are exported with the trainer's own answers.
        code_digest: digest of the code this run depends on (enters TFX's cache key).
    """

    precision: Precision = "auto"
    xla: bool = False
    seed: int = 42
    early_stopping_patience: int = 2
    early_stopping_metric: EarlyStoppingMetric = "val_accuracy"
    checkpoint_directory: str = ""
    checkpoint_every_steps: int = 0
    tensorboard: bool = True
    expected_answers: int = 32
    code_digest: str = ""


@dataclasses.dataclass(frozen=True)
class TunerSettings(_JsonRecord):
    """How the Tuner searches.

    Attributes:
        algorithm: keras-tuner's search.
        objective: "val_accuracy" or "val_loss", measured on the eval split.
        max_trials: trials at most (Hyperband derives its own count from ``epochs``).
        epochs: epochs a trial at most.
        early_stopping_patience: epochs without a better objective before a trial stops.
        search_space: name of an ``HParams`` field -> {"values": [...]} or
            {"min": x, "max": y, "sampling": "linear"|"log", "step": s}.
    """

    algorithm: Literal["random", "grid", "hyperband", "bayesian"] = "random"
    objective: Literal["val_accuracy", "val_loss"] = "val_accuracy"
    max_trials: int = 6
    epochs: int = 2
    early_stopping_patience: int = 1
    search_space: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
