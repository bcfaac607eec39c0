"""Settings of Vertex AI: pipeline runs, and the endpoint that serves their models."""

import re

from pydantic import Field, field_validator, model_validator

from pipeline.sections.section import Section

#: Resource name of an endpoint.
ENDPOINT_RESOURCE = r"projects/[^/]+/locations/(?P<region>[^/]+)/endpoints/[^/]+"


_MACHINE_TYPE = r"[a-z][a-z0-9]*-[a-z0-9-]+"


class VertexSection(Section):
    """Vertex AI Pipelines. Uses Google's application default credentials."""

    project: str = Field("", description="Google Cloud project.")
    region: str = Field(
        "us-central1",
        pattern=r"^[a-z]+-[a-z]+[0-9]+$",
        description="Region of the runs.",
        json_schema_extra={"legal": "a region such as us-central1"},
    )
    service_account: str = Field(
        "",
        pattern=r"^$|^[^@\s]+@[^@\s]+$",
        description="Service account that the nodes run as; if empty, the project's default.",
        json_schema_extra={"legal": "an account such as NAME@PROJECT.iam.gserviceaccount.com"},
    )
    network: str = Field(
        "",
        pattern=r"^$|^projects/[^/]+/global/networks/[^/]+$",
        description="VPC network that the nodes are peered with; empty means none.",
        json_schema_extra={"legal": "projects/NUMBER/global/networks/NAME"},
    )
    labels: dict[str, str] = Field(
        default={},
        description="Labels of the runs, for cost reports and filters.",
        json_schema_extra={"legal": "a table of lower-case names and values, 63 characters each"},
    )
    training_workers: int = Field(
        0,
        ge=0,
        le=100,
        description="Machines that train together with the Trainer's chief in a custom job; with "
        "0, the Trainer's own container trains.",
    )
    tuning_workers: int = Field(
        0,
        ge=0,
        le=100,
        description="Machines that run trials in parallel with the Tuner's chief in a custom job; "
        "with 0, the Tuner's own container runs them one by one.",
    )
    training_machine_type: str = Field(
        "",
        pattern=rf"^$|^{_MACHINE_TYPE}$",
        description="Machine type of the chief and the workers of these jobs; each machine has "
        "one accelerator, as set in [resources].",
        json_schema_extra={"legal": "a machine type such as n1-standard-8"},
    )
    endpoint: str = Field(
        "",
        pattern=rf"^$|^{ENDPOINT_RESOURCE}$|^[^/\"\\]{{1,128}}$",
        description="Endpoint that pushed models are deployed to: a display name, created if "
        "missing, or a resource name; if empty, models are not deployed.",
        json_schema_extra={
            "legal": "a display name or projects/PROJECT/locations/REGION/endpoints/NUMBER"
        },
    )
    endpoint_image: str = Field(
        "",
        description="Serving container: a copy of infra_validator.image, or one of Google's "
        "prebuilt TensorFlow containers.",
        json_schema_extra={
            "legal": "an image in Artifact Registry, such as "
            "REGION-docker.pkg.dev/PROJECT/REPOSITORY/serving:2.19.1"
        },
    )
    endpoint_machine_type: str = Field(
        "n1-standard-4",
        pattern=rf"^{_MACHINE_TYPE}$",
        description="Machine type of each replica.",
        json_schema_extra={"legal": "a machine type such as n1-standard-4"},
    )
    endpoint_accelerator: str = Field(
        "",
        pattern=r"^$|^[A-Z][A-Z0-9_]+$",
        description="Accelerator of each replica, one per machine; empty means none.",
        json_schema_extra={"legal": "an accelerator type such as NVIDIA_TESLA_T4"},
    )
    endpoint_min_replicas: int = Field(1, ge=1, description="Minimum number of replicas.")
    endpoint_max_replicas: int = Field(1, ge=1, description="Maximum number of replicas.")
    endpoint_traffic: int = Field(
        100,
        ge=0,
        le=100,
        description="Percentage of the endpoint's traffic for a newly deployed version; the other "
        "versions share the rest in proportion. The first version gets all.",
    )
    endpoint_undeploy: bool = Field(
        True, description="Undeploy versions that no longer get traffic."
    )
    api_endpoint: str = Field(
        "", description="Host of the API, such as a private one; if empty, the region's."
    )

    @field_validator("labels")
    @classmethod
    def _check_labels(cls, value: dict[str, str]) -> dict[str, str]:
        for key, label in value.items():
            if not re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", key) or not re.fullmatch(
                r"[a-z0-9_-]{0,63}", label
            ):
                raise ValueError(
                    "must be lower-case letters, digits, - and _, 63 characters at most; "
                    f"received {key}={label}"
                )
        return value

    @model_validator(mode="after")
    def _check_replicas(self) -> "VertexSection":
        if self.endpoint_min_replicas > self.endpoint_max_replicas:
            raise ValueError(
                "endpoint_max_replicas: must be at least endpoint_min_replicas, "
                f"{self.endpoint_min_replicas}; received {self.endpoint_max_replicas}; "
                f"--set vertex.endpoint_max_replicas={self.endpoint_min_replicas}"
            )
        return self
