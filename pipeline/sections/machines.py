"""Sections that several platforms share: Beam, container image and resources."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from pipeline.sections.section import Section

#: Beam's names of the runners, and of each runner the options of which it needs one.
BEAM_RUNNERS = {
    "direct": ("apache_beam.runners.portability.fn_api_runner.FnApiRunner", ()),
    "flink": ("FlinkRunner", ("--flink_master", "--job_endpoint")),
    "spark": ("SparkRunner", ("--spark_master_url", "--job_endpoint")),
    "dataflow": ("DataflowRunner", ("--project",)),
}


_DATAFLOW_OPTIONS = ("--project", "--region")


class BeamSection(Section):
    """Where data processing runs."""

    runner: Literal["direct", "flink", "spark", "dataflow"] = Field(
        "direct", description='"direct" is the machine that the node runs on.'
    )
    args: tuple[str, ...] = Field(
        (),
        description="Further Beam pipeline options, --name=value. Workers of flink, spark and "
        "dataflow run image.name unless --sdk_container_image says otherwise.",
    )

    @field_validator("runner", mode="before")
    @classmethod
    def _accept_beams_name(cls, value: object) -> object:
        """Take Beam's own names too, such as DataflowRunner."""
        return value.removesuffix("Runner").lower() if isinstance(value, str) else value

    @field_validator("args")
    @classmethod
    def _check_args(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for argument in value:
            if not argument.startswith("--"):
                raise ValueError(f"legal are options as --name=value, received {argument!r}")
            if argument.split("=")[0] == "--runner":
                raise ValueError("the runner is set with beam.runner, received it in beam.args")
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
        description="REGISTRY/NAME:TAG with a fixed tag, best the commit; or NAME@sha256:DIGEST.",
    )
    nodes: dict[str, str] = Field(
        default={},
        description='Other images for single nodes: {Trainer = "REGISTRY/NAME:TAG-gpu"}.',
        json_schema_extra={"legal": "a table of node names and images"},
    )
    directory: str = Field(
        "/opt/bert",
        pattern=r"^/[^:]+$",
        description="Where the repository lies in the image; relative paths mean files there.",
        json_schema_extra={"legal": "an absolute path"},
    )


class NodeResourcesSection(Section):
    """What one node asks for."""

    cpu: float | None = Field(None, gt=0)
    memory_gb: float | None = Field(None, gt=0)
    accelerator: str | None = None
    accelerator_count: int | None = Field(None, ge=0)


class ResourcesSection(Section):
    """What each node asks for on kubeflow and vertex."""

    cpu: float = Field(2.0, gt=0, description="CPUs of a node that trains nothing.")
    memory_gb: float = Field(8.0, gt=0, description="Its memory, GB.")
    training_cpu: float = Field(8.0, gt=0, description="CPUs of Tuner and Trainer.")
    training_memory_gb: float = Field(30.0, gt=0, description="Their memory, GB.")
    accelerator: str = Field(
        "",
        pattern=r"^[A-Za-z0-9._/-]*$",
        description="Of Tuner and Trainer: NVIDIA_TESLA_T4 on vertex, nvidia.com/gpu on kubeflow; "
        "empty is none.",
        json_schema_extra={"legal": "a name without spaces"},
    )
    accelerator_count: int = Field(1, ge=1, description="How many of them a node gets.")
    nodes: dict[str, NodeResourcesSection] = Field(
        default={},
        description="Other values for single nodes: {Evaluator = {memory_gb = 16}}.",
        json_schema_extra={
            "legal": "a table of node names and {cpu, memory_gb, accelerator, accelerator_count}"
        },
    )
