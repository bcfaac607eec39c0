"""Settings of Kubeflow Pipelines, and of the CronJob that starts runs on Kubernetes."""

from typing import Literal

from pydantic import Field, field_validator

from pipeline.sections.section import Section


class SecretSection(Section):
    """A key of a Kubernetes secret as an environment variable."""

    secret: str = Field(min_length=1)
    key: str = Field(min_length=1)
    variable: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")


class TolerationSection(Section):
    """A Kubernetes toleration."""

    key: str = ""
    operator: Literal["Exists", "Equal"] = "Exists"
    value: str = ""
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = ""


class KubeflowSection(Section):
    """Kubeflow Pipelines 2. A token, if needed, is read from KUBEFLOW_TOKEN."""

    host: str = Field(
        "",
        pattern=r"^$|^https?://[^\s]+$",
        description="URL of the Kubeflow Pipelines API, e.g. http://127.0.0.1:8888.",
        json_schema_extra={"legal": "a URL that begins with https:// or http://"},
    )
    namespace: str = Field("", description="The user's namespace in a multi-user cluster.")
    experiment: str = Field("", description="Experiment of the runs; if empty, pipeline.name.")
    service_account: str = Field("", description="Kubernetes service account of the pods.")
    ca_file: str = Field("", description="PEM file of the CA that signed the host's certificate.")
    volumes: dict[str, str] = Field(
        default={},
        description='Volume claims to mount in every node: {models = "/models"}.',
        json_schema_extra={"legal": "a table of claim names and absolute paths"},
    )
    secrets: tuple[SecretSection, ...] = Field(
        (),
        description="Keys of Kubernetes secrets as environment variables of every node.",
        json_schema_extra={"legal": "a list of {secret, key, variable}"},
    )
    node_selector: dict[str, str] = Field(
        default={},
        description="Labels of the Kubernetes nodes that all pods run on.",
        json_schema_extra={"legal": "a table of labels and values"},
    )
    training_node_selector: dict[str, str] = Field(
        default={},
        description="Additional labels of the Kubernetes nodes for Tuner and Trainer.",
        json_schema_extra={"legal": "a table of labels and values"},
    )
    tolerations: tuple[TolerationSection, ...] = Field(
        (),
        description="Taints that all pods tolerate.",
        json_schema_extra={"legal": "a list of {key, operator, value, effect}"},
    )
    image_pull_secrets: tuple[str, ...] = Field(
        (), description="Secrets with credentials for the image's registry."
    )

    @field_validator("volumes")
    @classmethod
    def _check_volumes(cls, value: dict[str, str]) -> dict[str, str]:
        if any(not path.startswith("/") for path in value.values()):
            raise ValueError(
                'must be a table of claim names and absolute paths, {models = "/models"}'
            )
        return value


class CronJobSection(Section):
    """A Kubernetes CronJob that polls in place of `bert watch`; see `bert compile --cronjob`."""

    schedule: str = Field(
        "*/5 * * * *",
        min_length=1,
        description="When it polls: a cron expression in UTC.",
    )
    service_account: str = Field(
        "",
        description="Kubernetes service account of its pods; if empty, kubeflow.service_account, "
        "or the namespace's default on vertex.",
    )
    secrets: tuple[SecretSection, ...] = Field(
        (),
        description="Keys of Kubernetes secrets as its environment variables; one must be "
        "BERT__FEEDBACK__DATABASE_URL.",
        json_schema_extra={"legal": "a list of {secret, key, variable}"},
    )
