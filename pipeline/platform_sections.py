"""The sections of the config that say where and how nodes and their data processing run."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from pipeline.config_sections import Section


class Image(Section):
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


class NodeResources(Section):
    """What one node asks for."""

    cpu: float | None = Field(None, gt=0)
    memory_gb: float | None = Field(None, gt=0)
    accelerator: str | None = None
    accelerator_count: int | None = Field(None, ge=0)


class Resources(Section):
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
    nodes: dict[str, NodeResources] = Field(
        default={},
        description="Other values for single nodes: {Evaluator = {memory_gb = 16}}.",
        json_schema_extra={
            "legal": "a table of node names and {cpu, memory_gb, accelerator, accelerator_count}"
        },
    )


class Secret(Section):
    """A key of a Kubernetes secret as an environment variable."""

    secret: str = Field(min_length=1)
    key: str = Field(min_length=1)
    variable: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")


class Toleration(Section):
    """A Kubernetes toleration."""

    key: str = ""
    operator: Literal["Exists", "Equal"] = "Exists"
    value: str = ""
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = ""


class Kubeflow(Section):
    """Kubeflow Pipelines 2. The token, if one is needed, is in KUBEFLOW_TOKEN."""

    host: str = Field(
        "",
        pattern=r"^$|^https?://[^\s]+$",
        description="URL of the Kubeflow Pipelines API, e.g. http://127.0.0.1:8888.",
        json_schema_extra={"legal": "a URL that begins with https:// or http://"},
    )
    namespace: str = Field("", description="Of the user, in a multi-user installation.")
    experiment: str = Field("", description="Experiment of the runs; empty is pipeline.name.")
    service_account: str = Field("", description="Kubernetes service account of the pods.")
    ca_file: str = Field("", description="PEM file of the authority that signed the host's TLS.")
    volumes: dict[str, str] = Field(
        default={},
        description='Volume claims to mount in every node: {models = "/models"}.',
        json_schema_extra={"legal": "a table of claim names and absolute paths"},
    )
    secrets: tuple[Secret, ...] = Field(
        (),
        description="Keys of Kubernetes secrets as environment variables of every node.",
        json_schema_extra={"legal": "a list of {secret, key, variable}"},
    )
    node_selector: dict[str, str] = Field(
        default={},
        description="Labels of the machines that every node runs on.",
        json_schema_extra={"legal": "a table of labels and values"},
    )
    training_node_selector: dict[str, str] = Field(
        default={},
        description="Further labels of the machines of Tuner and Trainer.",
        json_schema_extra={"legal": "a table of labels and values"},
    )
    tolerations: tuple[Toleration, ...] = Field(
        (),
        description="Taints that every node tolerates.",
        json_schema_extra={"legal": "a list of {key, operator, value, effect}"},
    )
    image_pull_secrets: tuple[str, ...] = Field(
        (), description="Secrets that open the image's registry."
    )

    @field_validator("volumes")
    @classmethod
    def _check_volumes(cls, value: dict[str, str]) -> dict[str, str]:
        if any(not path.startswith("/") for path in value.values()):
            raise ValueError(
                'legal is a table of claim names and absolute paths, {models = "/models"}'
            )
        return value


class Airflow(Section):
    """Apache Airflow 2. `bert submit` takes AIRFLOW_USERNAME and AIRFLOW_PASSWORD."""

    url: str = Field(
        "",
        pattern=r"^$|^https?://[^\s]+$",
        description="URL of Airflow's web server, e.g. http://127.0.0.1:8080.",
        json_schema_extra={"legal": "a URL that begins with https:// or http://"},
    )
    schedule: str = Field(
        "", description='Cron expression or preset such as "@daily"; empty runs on request alone.'
    )
    gated: bool = Field(
        False,
        description="A scheduled run goes on only when [triggers] would start one, as `bert watch "
        "--once` decides; else its tasks are skipped.",
    )
    start_date: str = Field(
        "2025-01-01",
        pattern=r"^\d{4}-\d{2}-\d{2}$",
        description="First day of the schedule, UTC.",
        json_schema_extra={"legal": "a date as YYYY-MM-DD"},
    )
    catchup: bool = Field(False, description="Also run the intervals that have been missed.")
    retries: int = Field(1, ge=0, le=100, description="Further tries of a node that failed.")
    retry_delay_seconds: int = Field(60, ge=0, description="Pause before a further try.")
    timeout_seconds: int = Field(
        21_600, ge=1, description="Limit on one try of a node; then it is ended."
    )
    run_timeout_seconds: int = Field(86_400, ge=1, description="Limit on a whole run.")
    max_parallel_nodes: int = Field(2, ge=1, le=100, description="Nodes that run at once.")
    pool: str = Field("default_pool", min_length=1, description="Airflow pool of every node.")
    tags: tuple[str, ...] = Field(("bert",), description="Of the DAG, in Airflow's list.")
    parameters: tuple[str, ...] = Field(
        ("data.path", "pipeline.cache"),
        description='Config keys that a run\'s conf may set, e.g. {"data.path": "reviews.csv"}.',
    )
    python: str = Field(
        "",
        description="Interpreter of the project's environment on the workers; empty is the one "
        "that compiles.",
    )
    directory: str = Field(
        "", description="Where the nodes run; empty is where `bert compile` ran."
    )


class CronJob(Section):
    """A Kubernetes CronJob that looks in place of `bert watch`; `bert compile --cronjob`."""

    schedule: str = Field(
        "*/5 * * * *",
        min_length=1,
        description="How often it looks: a cron expression in UTC.",
    )
    service_account: str = Field(
        "",
        description="Kubernetes service account of its pods; empty is kubeflow.service_account, or "
        "the namespace's default on vertex.",
    )
    secrets: tuple[Secret, ...] = Field(
        (),
        description="Keys of Kubernetes secrets as its environment variables; one must be "
        "BERT__FEEDBACK__DATABASE_URL.",
        json_schema_extra={"legal": "a list of {secret, key, variable}"},
    )


#: Beam's names of the runners, and of each runner the options of which it needs one.
BEAM_RUNNERS = {
    "direct": ("apache_beam.runners.portability.fn_api_runner.FnApiRunner", ()),
    "flink": ("FlinkRunner", ("--flink_master", "--job_endpoint")),
    "spark": ("SparkRunner", ("--spark_master_url", "--job_endpoint")),
    "dataflow": ("DataflowRunner", ("--project",)),
}
_DATAFLOW_OPTIONS = ("--project", "--region")


class Beam(Section):
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
    def _check_runner(self) -> "Beam":
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
