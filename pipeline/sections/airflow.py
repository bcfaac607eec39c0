"""Settings of Apache Airflow."""

from pydantic import Field

from pipeline.sections.section import Section


class AirflowSection(Section):
    """Apache Airflow 2. `bert submit` logs in with AIRFLOW_USERNAME and AIRFLOW_PASSWORD."""

    url: str = Field(
        "",
        pattern=r"^$|^https?://[^\s]+$",
        description="URL of Airflow's web server, e.g. http://127.0.0.1:8080.",
        json_schema_extra={"legal": "a URL that begins with https:// or http://"},
    )
    schedule: str = Field(
        "",
        description='Cron expression or preset such as "@daily"; if empty, runs start on request.',
    )
    gated: bool = Field(
        False,
        description="Continue a scheduled run only if [triggers] would start one, as with `bert "
        "watch --once`; otherwise skip its tasks.",
    )
    start_date: str = Field(
        "2025-01-01",
        pattern=r"^\d{4}-\d{2}-\d{2}$",
        description="First day of the schedule, UTC.",
        json_schema_extra={"legal": "a date as YYYY-MM-DD"},
    )
    catchup: bool = Field(False, description="Also run the intervals that were missed.")
    retries: int = Field(1, ge=0, le=100, description="Retries of a failed node.")
    retry_delay_seconds: int = Field(60, ge=0, description="Pause before a retry.")
    timeout_seconds: int = Field(
        21_600, ge=1, description="Time limit for one attempt of a node, which is then stopped."
    )
    run_timeout_seconds: int = Field(86_400, ge=1, description="Time limit for a whole run.")
    max_parallel_nodes: int = Field(
        2, ge=1, le=100, description="Maximum number of nodes that run at the same time."
    )
    pool: str = Field("default_pool", min_length=1, description="Airflow pool of every node.")
    tags: tuple[str, ...] = Field(("bert",), description="Tags of the DAG.")
    parameters: tuple[str, ...] = Field(
        ("data.path", "pipeline.cache"),
        description='Config keys that a run\'s conf may set, e.g. {"data.path": "reviews.csv"}.',
    )
    python: str = Field(
        "",
        description="Python interpreter of the project's environment on the workers; if empty, "
        "the one that runs `bert compile`.",
    )
    directory: str = Field(
        "", description="Working directory of the nodes; if empty, that of `bert compile`."
    )
