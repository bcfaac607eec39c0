"""Section of Apache Airflow."""

from pydantic import Field

from pipeline.sections.section import Section


class AirflowSection(Section):
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
