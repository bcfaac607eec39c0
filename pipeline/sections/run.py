"""Settings of a run: pipeline root and metadata store."""

from pydantic import Field

from pipeline.sections.section import Section


class PipelineSection(Section):
    """The pipeline as a whole."""

    name: str = Field(
        "bert",
        pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,62}$",
        description="Name in the metadata; runs with the same name share a cache and a baseline.",
        json_schema_extra={"legal": "a letter, then letters, digits, - or _, 63 at most"},
    )
    root: str = Field(
        "pipeline_root", min_length=1, description="Folder for artifacts, logs and metadata."
    )
    cache: bool = Field(
        True, description="Reuse the outputs of nodes whose inputs have not changed."
    )


class MetadataSection(Section):
    """Database of ML Metadata."""

    url: str = Field(
        "",
        pattern=r"^$|^sqlite:///.+|^(mysql|postgresql)://.+",
        description="Database URL; if empty, SQLite at <pipeline.root>/metadata.sqlite.",
        json_schema_extra={
            "legal": '"", sqlite:///PATH, mysql://USER:PASSWORD@HOST/DATABASE or postgresql://',
            "secret": True,
        },
    )
