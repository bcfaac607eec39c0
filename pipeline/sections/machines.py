"""Settings that several platforms share: Beam, container image and resources."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from pipeline.sections.section import Section

#: Beam's name of each runner, and the options of which it needs at least one.
BEAM_RUNNERS = {
    "direct": ("apache_beam.runners.portability.fn_api_runner.FnApiRunner", ()),
    "flink": ("FlinkRunner", ("--flink_master", "--job_endpoint")),
    "spark": ("SparkRunner", ("--spark_master_url", "--job_endpoint")),
    "dataflow": ("DataflowRunner", ("--project",)),
}


_DATAFLOW_OPTIONS = ("--project", "--region")


class BeamSection(Section):
    """Apache Beam, which runs the data processing."""

    runner: Literal["direct", "flink", "spark", "dataflow"] = Field(
        "direct", description='Beam runner; "direct" runs in the node\'s own process.'
    )
    args: tuple[str, ...] = Field(
        (),
        description="Additional Beam pipeline options, --name=value. Workers of flink, spark and "
        "dataflow run image.name unless --sdk_container_image is given.",
    )

    @field_validator("runner", mode="before")
    @classmethod
    def _accept_beams_name(cls, value: object) -> object:
        """Accept Beam's own names too, such as DataflowRunner."""
        return value.removesuffix("Runner").lower() if isinstance(value, str) else value

    @field_validator("args")
    @classmethod
    def _check_args(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for argument in value:
            if not argument.startswith("--"):
                raise ValueError(f"must be options of the form --name=value, received {argument!r}")
            if argument.split("=")[0] == "--runner":
                raise ValueError("must not set --runner; set beam.runner")
        return value

    @model_validator(mode="after")
    def _check_runner(self) -> "BeamSection":
        given = {argument.split("=")[0] for argument in self.args}
        any_of = BEAM_RUNNERS[self.runner][1]
        if any_of and not given & set(any_of):
            raise ValueError(
                f"beam.runner {self.runner} needs {' or '.join(any_of)} in beam.args: --set "
                f"'beam.args=[\"{any_of[0]}=...\"]'"
            )
        missing = [name for name in _DATAFLOW_OPTIONS if name not in given]
        if self.runner == "dataflow" and missing:
            raise ValueError(f"beam.runner dataflow needs {', '.join(missing)} in beam.args too")
        return self


class ImageSection(Section):
    """The container image that the nodes run in on kubeflow and vertex."""

    name: str = Field(
        "",
        description="REGISTRY/NAME:TAG with a fixed tag, such as the commit, or "
        "NAME@sha256:DIGEST.",
    )
    nodes: dict[str, str] = Field(
        default={},
        description='Images of individual nodes: {Trainer = "REGISTRY/NAME:TAG-gpu"}.',
        json_schema_extra={"legal": "a table of node names and images"},
    )
    directory: str = Field(
        "/opt/bert",
        pattern=r"^/[^:]+$",
        description="Folder of the repository in the image; relative paths refer to it.",
        json_schema_extra={"legal": "an absolute path"},
    )


class NodeResourcesSection(Section):
    """Resource requests of one node."""

    cpu: float | None = Field(None, gt=0)
    memory_gb: float | None = Field(None, gt=0)
    accelerator: str | None = None
    accelerator_count: int | None = Field(None, ge=0)


class ResourcesSection(Section):
    """Resource requests of each node on kubeflow and vertex."""

    cpu: float = Field(2.0, gt=0, description="CPUs of nodes except Tuner and Trainer.")
    memory_gb: float = Field(8.0, gt=0, description="Their memory, GB.")
    training_cpu: float = Field(8.0, gt=0, description="CPUs of Tuner and Trainer.")
    training_memory_gb: float = Field(30.0, gt=0, description="Memory of Tuner and Trainer, GB.")
    accelerator: str = Field(
        "",
        pattern=r"^[A-Za-z0-9._/-]*$",
        description="Accelerator of Tuner and Trainer: NVIDIA_TESLA_T4 on vertex, nvidia.com/gpu "
        "on kubeflow; empty means none.",
        json_schema_extra={"legal": "a name without spaces"},
    )
    accelerator_count: int = Field(1, ge=1, description="Accelerators per Tuner or Trainer.")
    nodes: dict[str, NodeResourcesSection] = Field(
        default={},
        description="Values of individual nodes: {Evaluator = {memory_gb = 16}}.",
        json_schema_extra={
            "legal": "a table of node names and {cpu, memory_gb, accelerator, accelerator_count}"
        },
    )
