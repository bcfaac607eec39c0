"""Sections from evaluation to push: Evaluator, InfraValidator, Pusher."""

from typing import Literal

from pydantic import Field, field_validator

from pipeline.sections.section import Section

Metric = Literal["accuracy", "macro_f1", "macro_precision", "macro_recall", "auc"]


FloorMetric = Metric | Literal["calibration_error", "precision", "recall", "f1"]


class FloorSection(Section):
    """Bounds that a metric must keep, on all examples or on a slice."""

    metric: FloorMetric
    min: float | None = Field(None, ge=0, le=1)
    max: float | None = Field(None, ge=0, le=1)
    slice: str = ""


class EvaluatorSection(Section):
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
    floors: tuple[FloorSection, ...] = Field(
        (FloorSection(metric="accuracy", min=0.6),),
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


class InfraValidatorSection(Section):
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


class PusherSection(Section):
    """Where accepted models go."""

    base_directory: str = Field(
        "serving_models/bert", min_length=1, description="Folder of numbered model versions."
    )
    keep_versions: int = Field(
        0, ge=0, description="Older versions beyond this many are deleted; 0 keeps all."
    )
