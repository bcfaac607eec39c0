"""The sections of the config: every key with its type, legal range, default and meaning.

A key's description is what ``docs/configuration.md`` prints. Defaults that a worker's record has
too (``modules.contract.hparams``) are taken from it, so that they are written once.
"""

from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

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
from pipeline.config_keys import legal
from pipeline.search_space import check_search_space

DataFormat = Literal["auto", "csv", "jsonl", "parquet", "folders"]
Metric = Literal["accuracy", "macro_f1", "macro_precision", "macro_recall", "auc"]
FloorMetric = Metric | Literal["calibration_error", "precision", "recall", "f1"]


class Section(BaseModel):
    """A frozen table of the config that knows all its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)


class Split(Section):
    """Shares of the three splits."""

    train: int = Field(8, ge=1, description="Share of examples to train on.")
    eval: int = Field(1, ge=1, description="Share for early stopping and for tuning.")
    test: int = Field(1, ge=1, description="Share that only the Evaluator sees.")


class Data(Section):
    """Where the labelled text is and what it looks like."""

    path: str | tuple[str, ...] = Field(
        "data/sample/reviews.csv",
        description="File, folder or glob pattern; a list reads several.",
    )
    format: DataFormat = Field("auto", description='"auto" goes by the name\'s ending.')
    text_column: str = Field("text", min_length=1, description="Column that holds the text.")
    label_column: str = Field("label", min_length=1, description="Column that holds the label.")
    slice_columns: tuple[str, ...] = Field(
        (), description="Columns whose values the Evaluator reports on one by one."
    )
    labels: tuple[str, ...] = Field(
        (), description="The only labels allowed; empty learns them from the data."
    )
    max_bad_share: float = Field(
        0.01, ge=0, le=1, description="Share of unreadable rows above which the run stops."
    )
    max_text_bytes: int = Field(
        1_000_000, ge=1, description="A longer text is quarantined as unreadable."
    )
    parse_cache: bool = Field(
        True,
        description="Keep parsed files under <pipeline.root>/ExampleGen-cache: the next run parses "
        "only what is new.",
    )
    split: Split = Split()

    @property
    def paths(self) -> tuple[str, ...]:
        """``path`` as a tuple, however it was written."""
        return (self.path,) if isinstance(self.path, str) else self.path

    @field_validator("path")
    @classmethod
    def _check_path(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if not value or (isinstance(value, tuple) and "" in value):
            raise ValueError("legal is a path or a list of paths, none of them empty")
        return value

    @model_validator(mode="after")
    def _check_columns(self) -> "Data":
        columns = (self.text_column, self.label_column, *self.slice_columns)
        twice = sorted({column for column in columns if columns.count(column) > 1})
        if twice:
            raise ValueError(
                f"text_column, label_column and slice_columns must differ, received {twice[0]!r} "
                "twice"
            )
        return self


class Pipeline(Section):
    """The pipeline as a whole."""

    name: str = Field(
        "bert",
        pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,62}$",
        description="Name in the metadata; runs of one name share a cache and a baseline.",
        json_schema_extra={"legal": "a letter, then letters, digits, - or _, 63 at most"},
    )
    root: str = Field(
        "pipeline_root", min_length=1, description="Folder for artifacts, logs and metadata."
    )
    cache: bool = Field(True, description="Reuse outputs whose inputs have not changed.")


class Metadata(Section):
    """Where ML Metadata keeps its records."""

    url: str = Field(
        "",
        pattern=r"^$|^sqlite:///.+|^(mysql|postgresql)://.+",
        description="Database; empty is SQLite at <pipeline.root>/metadata.sqlite.",
        json_schema_extra={
            "legal": '"", sqlite:///PATH, mysql://USER:PASSWORD@HOST/DATABASE or postgresql://',
            "secret": True,
        },
    )


class Schema(Section):
    """The curated schema."""

    path: str = Field(
        "",
        description="Used when the file exists (`bert schema accept` writes it); "
        "empty is <pipeline.root>/schema/schema.pbtxt.",
    )


class ExampleValidator(Section):
    """What stops a run before training."""

    blocking_severity: Literal["error", "warning", "none"] = Field(
        "error", description="Anomalies of this severity or worse stop the run."
    )


class Trainer(Section):
    """How the classifier is trained, unless the Tuner finds better."""

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
        description="Tokens a text, start and end tokens included.",
    )
    truncation: Truncation = Field(
        TextSettings.truncation, description="Which part of a longer text is kept."
    )
    freeze_encoder: bool = Field(
        HParams.freeze_encoder, description="Train the classification head alone."
    )
    epochs: int = Field(
        HParams.epochs, ge=0, le=1000, description="Passes over the train split; 0 trains nothing."
    )
    batch_size: int = Field(
        HParams.batch_size, ge=1, le=4096, description="Examples a step, over all devices."
    )
    learning_rate: float = Field(
        HParams.learning_rate, gt=0, le=1, description="AdamW's peak learning rate."
    )
    warmup_fraction: float = Field(
        HParams.warmup_fraction,
        ge=0,
        le=1,
        description="Share of all steps in which the learning rate rises from 0.",
    )
    weight_decay: float = Field(
        HParams.weight_decay, ge=0, le=1, description="AdamW's decoupled weight decay."
    )
    dropout: float = Field(
        HParams.dropout, ge=0, le=0.9, description="Rate in the encoder and before the head."
    )
    class_weights: ClassWeights = Field(
        HParams.class_weights, description='"balanced" lifts classes with few examples.'
    )
    precision: Precision = Field(
        TrainingSettings.precision,
        description='Number format of the computations; "auto" is bfloat16 where that is fast.',
    )
    xla: bool = Field(TrainingSettings.xla, description="Compile the training step with XLA.")
    early_stopping_patience: int = Field(
        TrainingSettings.early_stopping_patience,
        ge=0,
        description="Epochs without a better eval metric before training stops; 0 never stops.",
    )
    early_stopping_metric: EarlyStoppingMetric = Field(
        TrainingSettings.early_stopping_metric,
        description="What tells the best epoch, whose weights are kept.",
    )
    seed: int = Field(
        TrainingSettings.seed, ge=0, le=2**31 - 1, description="Same seed, same CPU: same weights."
    )
    checkpoint_every_steps: int = Field(
        TrainingSettings.checkpoint_every_steps,
        ge=0,
        description="Steps between checkpoints; 0 saves at epoch ends alone.",
    )
    tensorboard: bool = Field(TrainingSettings.tensorboard, description="Write TensorBoard logs.")
    expected_answers: int = Field(
        TrainingSettings.expected_answers,
        ge=1,
        le=1000,
        description="Eval texts exported with the trainer's own answers, for InfraValidator.",
    )


class Tuner(Section):
    """The search for better hyper-parameters."""

    enabled: bool = Field(False, description="Search before training.")
    algorithm: Literal["random", "grid", "hyperband", "bayesian"] = Field(
        TunerSettings.algorithm, description="How the search space is walked."
    )
    objective: Literal["val_accuracy", "val_loss"] = Field(
        TunerSettings.objective, description="What a trial is judged by, on the eval split."
    )
    max_trials: int = Field(
        TunerSettings.max_trials, ge=1, le=10_000, description="Trials at most."
    )
    epochs: int = Field(TunerSettings.epochs, ge=1, le=1000, description="Epochs a trial at most.")
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
        description="What is tuned: {values = [...]} or {min, max, sampling, step} for each name.",
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


def _check_trainer_value(name: str, value: Any) -> None:
    """Hold what a trial may try to the same rule as the key in ``[trainer]``."""
    try:
        Trainer.model_validate({name: value})
    except ValidationError as error:
        rule = legal(Trainer.model_fields[name])
        raise ValueError(f"{name} must be {rule}, received {value!r}") from error


class Floor(Section):
    """Bounds that a metric must keep, on all examples or on a slice."""

    metric: FloorMetric
    min: float | None = Field(None, ge=0, le=1)
    max: float | None = Field(None, ge=0, le=1)
    slice: str = ""


class Evaluator(Section):
    """What a candidate must show to be pushed."""

    metric: Metric = Field("accuracy", description="Compared with the pushed model's.")
    margin: float = Field(
        0.0,
        ge=-1,
        le=1,
        description="The gain over the pushed model must be greater; below 0 allows a small loss.",
    )
    confidence: float = Field(
        0.95, ge=0.5, le=0.999, description="Of the bootstrap interval of the difference."
    )
    require_significance: bool = Field(
        False, description="The interval's lower end, not only the gain, must pass the margin."
    )
    bootstrap_samples: int = Field(
        2000, ge=100, le=1_000_000, description="Resamples behind the interval."
    )
    min_slice_examples: int = Field(
        20, ge=1, description="Slices with fewer test examples are reported, not judged."
    )
    length_slices: tuple[int, ...] = Field(
        (16, 64, 256), description="Bounds, in words, between slices by text length."
    )
    floors: tuple[Floor, ...] = Field(
        (Floor(metric="accuracy", min=0.6),),
        description='Bounds on metrics; slice is "" for all examples, or "label=positive", '
        '"domain=films", "domain=*" for each value, "length=*". No floors at all: the metric must '
        "beat the answer that always names the majority class.",
        json_schema_extra={
            "legal": 'a list of {metric = "...", min = or max = 0 to 1, slice = "SLICE"}'
        },
    )

    @field_validator("length_slices")
    @classmethod
    def _check_length_slices(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if any(bound < 1 for bound in value) or list(value) != sorted(set(value)):
            raise ValueError("legal are rising whole numbers from 1")
        return value


class InfraValidator(Section):
    """What the exported model must show behind a model server. A limit of 0 is no limit."""

    enabled: bool = Field(True, description="Serve and question the model before it is pushed.")
    server: Literal["process", "docker", "kubernetes"] = Field(
        "process",
        description="The embedded server, or TensorFlow Serving in a container or beside the pod.",
    )
    image: str = Field(
        "tensorflow/serving:2.19.1",
        min_length=1,
        description="TensorFlow Serving for docker and kubernetes; a fixed tag or a digest.",
    )
    docker_host: str = Field("", description="URL of the Docker engine; empty is its socket.")
    service_account: str = Field(
        "", description="Of the pod in Kubernetes; empty is the pipeline's own."
    )
    texts: int = Field(16, ge=1, le=1000, description="Real texts replayed.")
    tolerance: float = Field(
        1e-4, ge=0, le=1, description="Largest difference to the trainer's own scores."
    )
    max_load_seconds: float = Field(
        0.0, ge=0, description="Limit from the model's hand-over to a server to its first answer."
    )
    max_memory_mb: float = Field(0.0, ge=0, description="Limit on the server's peak memory, MiB.")
    max_latency_ms: float = Field(0.0, ge=0, description="Limit on the slowest 1% of answers.")
    max_size_mb: float = Field(0.0, ge=0, description="Limit on the size of the export, MiB.")
    timeout_seconds: int = Field(300, ge=1, description="Limit on the whole validation.")


class Pusher(Section):
    """Where accepted models go."""

    base_directory: str = Field(
        "serving_models/bert", min_length=1, description="Folder of numbered model versions."
    )
    keep_versions: int = Field(
        0, ge=0, description="Older versions beyond this many are deleted; 0 keeps all."
    )
