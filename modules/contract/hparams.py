"""Hyper-parameters, which the Tuner may change, and the other settings of a training run.

Standard library only, because the config, the graph and the workers all import this module. The
records are sent to workers as JSON in a component's ``custom_config``.
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
    """Base of dataclasses that convert to JSON and back and reject unknown keys."""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Create the record from a mapping.

        Raises:
            ValueError: a key is unknown. The message lists the allowed keys.
        """
        allowed = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
        unknown = sorted(set(values) - allowed)
        if unknown:
            raise ValueError(f"{cls.__name__}: unknown {unknown}; allowed: {sorted(allowed)}")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Return the record as plain JSON types."""
        return dataclasses.asdict(self)  # type: ignore[call-overload,no-any-return]

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Create the record from the output of ``to_json``.

        Raises:
            ValueError: the text is not JSON, or has an unknown key.
        """
        return cls.from_dict(json.loads(text))

    def to_json(self) -> str:
        """Return the record as JSON with sorted keys, so that equal records give equal text."""
        return json.dumps(self.to_dict(), sort_keys=True)


@dataclasses.dataclass(frozen=True)
class HParams(_JsonRecord):
    """Hyper-parameters. The search space in the config file uses the same names.

    Attributes:
        learning_rate: AdamW's peak learning rate. 2e-4 suits small encoders; BERT-base and larger
            ones need 2e-5 to 5e-5.
        batch_size: examples per step, over all replicas.
        epochs: passes over the train split; 0 exports the untrained classifier.
        warmup_fraction: share of the steps in which the learning rate rises linearly from 0.
        weight_decay: AdamW's decoupled decay; not applied to biases and layer norms.
        dropout: rate inside the encoder and before the classification head.
        freeze_encoder: train only the head.
        class_weights: "balanced" weights each class by total / (classes * count).
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
    """Settings that turn text into token ids, the same in Transform, training and serving.

    Attributes:
        encoder: "minilm", a Hugging Face folder ("PATH" or "hf://PATH"), a keras-hub preset
            ("keras://bert_tiny_en_uncased") or a TF Hub handle ("tfhub://PATH-or-URL").
        max_length: tokens per text, including start and end tokens.
        truncation: part of a longer text to keep.
    """

    encoder: str = "minilm"
    max_length: int = 128
    truncation: Truncation = "head"


@dataclasses.dataclass(frozen=True)
class TrainingSettings(_JsonRecord):
    """Settings of a training run in addition to hyper-parameters and text settings.

    Attributes:
        precision: Keras dtype policy; "auto" is bfloat16 on hardware where that is fast.
        xla: compile the training step with XLA.
        seed: seeds Python, NumPy, TensorFlow, shuffling and initialisers.
        early_stopping_patience: epochs without a better eval metric before training stops; the
            best epoch's weights are kept. 0 never stops early and keeps the last weights.
        early_stopping_metric: "val_accuracy" or "val_loss". The loss of a fine-tuned encoder can
            rise while its accuracy still improves, because it becomes overconfident.
        checkpoint_directory: folder of resumable checkpoints; "" saves none.
        checkpoint_every_steps: steps between checkpoints; 0 saves only at the end of each epoch.
        tensorboard: write TensorBoard logs to the ModelRun artifact.
        expected_answers: number of eval texts to export with the trainer's own scores.
        code_digest: digest of the code that this run depends on, part of TFX's cache key.
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
    """Settings of the Tuner's search.

    Attributes:
        algorithm: keras-tuner's search algorithm.
        objective: "val_accuracy" or "val_loss", measured on the eval split.
        max_trials: maximum number of trials. Hyperband derives its own number from ``epochs``.
        epochs: maximum number of epochs per trial.
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
