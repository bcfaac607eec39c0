"""Settings from evaluation to push: Evaluator, InfraValidator, Pusher."""

from typing import Literal

from pydantic import Field, field_validator

from pipeline.sections.section import Section

Metric = Literal["accuracy", "macro_f1", "macro_precision", "macro_recall", "auc"]


FloorMetric = Metric | Literal["calibration_error", "precision", "recall", "f1"]


class FloorSection(Section):
    """Bounds on a metric, over all examples or over a slice."""

    metric: FloorMetric
    min: float | None = Field(None, ge=0, le=1)
    max: float | None = Field(None, ge=0, le=1)
    slice: str = ""


class EvaluatorSection(Section):
    """Requirements that a candidate must meet to be pushed."""

    metric: Metric = Field("accuracy", description="Metric to compare with the pushed model's.")
    margin: float = Field(
        0.0,
        ge=-1,
        le=1,
        description="Gain over the pushed model that the candidate must exceed; a negative margin "
        "allows a small loss.",
    )
    confidence: float = Field(
        0.95, ge=0.5, le=0.999, description="Confidence level of the difference's interval."
    )
    require_significance: bool = Field(
        False, description="Require the interval's lower end, not just the gain, above the margin."
    )
    bootstrap_samples: int = Field(
        2000, ge=100, le=1_000_000, description="Bootstrap resamples for the interval."
    )
    min_slice_examples: int = Field(
        20, ge=1, description="Slices with fewer test examples are reported but not judged."
    )
    length_slices: tuple[int, ...] = Field(
        (16, 64, 256), description="Text lengths, in words, at which the length slices are split."
    )
    floors: tuple[FloorSection, ...] = Field(
        (FloorSection(metric="accuracy", min=0.6),),
        description='Bounds on metrics; slice is "" for all examples, or "label=positive", '
        '"domain=films", "domain=*" for each value, "length=*". Without floors, the metric must '
        "beat a model that always predicts the majority class.",
        json_schema_extra={
            "legal": 'a list of {metric = "...", min = or max = 0 to 1, slice = "SLICE"}'
        },
    )

    @field_validator("length_slices")
    @classmethod
    def _check_length_slices(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if any(bound < 1 for bound in value) or list(value) != sorted(set(value)):
            raise ValueError("must be increasing whole numbers from 1")
        return value


class InfraValidatorSection(Section):
    """Checks of the exported model in a model server. A limit of 0 means no limit."""

    enabled: bool = Field(
        True, description="Load the model in a server and send requests before it is pushed."
    )
    server: Literal["process", "docker", "kubernetes"] = Field(
        "process",
        description='"process" is the embedded server; "docker" and "kubernetes" start TensorFlow '
        "Serving in a container or in a pod.",
    )
    image: str = Field(
        "tensorflow/serving:2.19.1",
        min_length=1,
        description="TensorFlow Serving image for docker and kubernetes, by fixed tag or digest.",
    )
    docker_host: str = Field(
        "", description="URL of the Docker engine; if empty, its default socket."
    )
    service_account: str = Field(
        "", description="Service account of the Kubernetes pod; if empty, the pipeline's own."
    )
    texts: int = Field(16, ge=1, le=1000, description="Number of real texts to replay.")
    tolerance: float = Field(
        1e-4, ge=0, le=1, description="Largest difference allowed from the trainer's own scores."
    )
    max_load_seconds: float = Field(
        0.0, ge=0, description="Limit on the time to load the model and return its first response."
    )
    max_memory_mb: float = Field(0.0, ge=0, description="Limit on the server's peak memory, MiB.")
    max_latency_ms: float = Field(
        0.0, ge=0, description="Limit on the 99th percentile of the latency."
    )
    max_size_mb: float = Field(0.0, ge=0, description="Limit on the size of the export, MiB.")
    timeout_seconds: int = Field(300, ge=1, description="Time limit for the whole validation.")


class PusherSection(Section):
    """Destination of accepted models."""

    base_directory: str = Field(
        "serving_models/bert", min_length=1, description="Folder of numbered model versions."
    )
    keep_versions: int = Field(
        0, ge=0, description="Number of newest versions to keep; 0 keeps all."
    )
