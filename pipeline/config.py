"""The typed config: defaults < ``--config`` file < ``BERT__SECTION__KEY`` < ``--set``.

Does not import TensorFlow, so that the command line starts quickly. Relative paths are resolved
against the current directory, not against the config file.
"""

import dataclasses
import os
import warnings
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlsplit, urlunsplit

from pydantic import PrivateAttr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from components.evaluation.settings import EvaluatorSettings
from modules.contract.errors import UserError
from modules.contract.hparams import HParams, TextSettings, TrainingSettings, TunerSettings
from pipeline.config_keys import is_secret, keys, legal
from pipeline.config_sources import SettingsSource, sources
from pipeline.sections.airflow import AirflowSection
from pipeline.sections.data import DataSection, ExampleValidatorSection, SchemaSection
from pipeline.sections.evaluation import EvaluatorSection, InfraValidatorSection, PusherSection
from pipeline.sections.freshness import (
    DriftSection,
    FeedbackSection,
    GatewaySection,
    RolloutSection,
    TriggersSection,
)
from pipeline.sections.kubeflow import CronJobSection, KubeflowSection
from pipeline.sections.machines import BEAM_RUNNERS, BeamSection, ImageSection, ResourcesSection
from pipeline.sections.run import MetadataSection, PipelineSection
from pipeline.sections.section import Section
from pipeline.sections.training import TrainerSection, TunerSection
from pipeline.sections.vertex import VertexSection

DEFAULT_ORIGIN = "default"

_sources: ContextVar[tuple[SettingsSource, ...]] = ContextVar("_sources", default=())

# "schema" hides a deprecated method of pydantic's that nothing here calls.
warnings.filterwarnings("ignore", message='Field name "schema"')


class Config(BaseSettings):
    """Settings of one pipeline, in frozen sections. Created by ``load``."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid")

    data: DataSection = DataSection()
    pipeline: PipelineSection = PipelineSection()
    metadata: MetadataSection = MetadataSection()
    schema: SchemaSection = SchemaSection()  # type: ignore[assignment]
    example_validator: ExampleValidatorSection = ExampleValidatorSection()
    trainer: TrainerSection = TrainerSection()
    tuner: TunerSection = TunerSection()
    evaluator: EvaluatorSection = EvaluatorSection()
    infra_validator: InfraValidatorSection = InfraValidatorSection()
    pusher: PusherSection = PusherSection()
    beam: BeamSection = BeamSection()
    image: ImageSection = ImageSection()
    resources: ResourcesSection = ResourcesSection()
    kubeflow: KubeflowSection = KubeflowSection()
    vertex: VertexSection = VertexSection()
    airflow: AirflowSection = AirflowSection()
    cronjob: CronJobSection = CronJobSection()
    gateway: GatewaySection = GatewaySection()
    feedback: FeedbackSection = FeedbackSection()
    drift: DriftSection = DriftSection()
    triggers: TriggersSection = TriggersSection()
    rollout: RolloutSection = RolloutSection()

    _origins: dict[str, str] = PrivateAttr(default_factory=dict)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the sources that ``load`` prepared, which record the origin of each value."""
        return (init_settings, *_sources.get())

    @classmethod
    def load(
        cls,
        file: str | os.PathLike[str] | None = None,
        assignments: Sequence[str] = (),
        environ: Mapping[str, str] | None = None,
    ) -> Self:
        """Read the config from all its sources.

        Args:
            file: a TOML file's path, or a bundled config's name (``imdb``).
            assignments: ``section.key=value`` strings, which override all other sources.
            environ: environment variables; None means ``os.environ``.

        Raises:
            UserError: a key is unknown or a value is not allowed. The message names the key, the
                allowed values, the received value and its origin.
        """
        found = sources(cls, file, assignments, os.environ if environ is None else environ)
        origins = {
            key: origin for source in reversed(found) for key, origin in source.origins.items()
        }
        token = _sources.set(found)
        try:
            config = cls()
        except ValidationError as error:
            raise UserError(_explain(error, origins)) from error
        finally:
            _sources.reset(token)
        config._origins = origins
        return config

    @model_validator(mode="after")
    def _check_evaluator(self) -> Self:
        """Check the floors against the slice columns by the Evaluator's own rules."""
        EvaluatorSettings.create(**self.evaluator_arguments())
        return self

    def pipeline_root(self) -> str:
        """Return ``pipeline.root`` as an absolute path, or unchanged if it is a remote URI."""
        return _absolute(self.pipeline.root)

    def metadata_url(self) -> str:
        """Return ``metadata.url``, or the URL of the SQLite file under the pipeline root."""
        return self.metadata.url or f"sqlite:///{quote(self.pipeline_root())}/metadata.sqlite"

    def schema_path(self) -> Path:
        """Return the path of the curated schema, whether or not it exists yet."""
        return Path(_absolute(self.schema.path or f"{self.pipeline.root}/schema/schema.pbtxt"))

    def curated_schema_file(self) -> str | None:
        """Return the path of the curated schema, or None if the file does not exist."""
        path = self.schema_path()
        return str(path) if path.is_file() else None

    def push_directory(self) -> str:
        """Return ``pusher.base_directory`` as an absolute path, or unchanged if a remote URI."""
        return _absolute(self.pusher.base_directory)

    def database_url(self) -> str:
        """Return ``feedback.database_url``, or the URL of the SQLite file under the root."""
        return self.feedback.database_url or f"sqlite:///{self.pipeline_root()}/service.sqlite"

    def spans_directory(self) -> str:
        """Return the absolute path of the folder of exported feedback spans."""
        return _absolute(self.feedback.spans or f"{self.pipeline.root}/feedback")

    def example_gen_arguments(self) -> dict[str, Any]:
        """Return the arguments of ``components.example_gen``: ``[data]`` and its folders."""
        data = self.data.model_dump(mode="json", exclude={"path", "format", "parse_cache"})
        return {
            **data,
            "paths": [_absolute(path) for path in self.data.paths],
            "data_format": self.data.format,
            "spans_directory": self.spans_directory(),
            "cache_directory": self.parse_cache_directory(),
        }

    def parse_cache_directory(self) -> str:
        """Return the absolute path of the cache of parsed files, or "" if it is off."""
        return f"{self.pipeline_root()}/ExampleGen-cache" if self.data.parse_cache else ""

    def evaluator_arguments(self) -> dict[str, Any]:
        """Return the arguments of ``components.evaluator`` in addition to its inputs."""
        return {
            **self.evaluator.model_dump(mode="json"),
            "slice_columns": list(self.data.slice_columns),
        }

    def infra_validator_arguments(self) -> dict[str, Any]:
        """Return the arguments of ``components.infra_validator`` in addition to its inputs."""
        return self.infra_validator.model_dump(mode="json", exclude={"enabled"})

    def pusher_arguments(self) -> dict[str, Any]:
        """Return the arguments of ``components.pusher`` in addition to its inputs."""
        return {**self.pusher.model_dump(mode="json"), "base_directory": self.push_directory()}

    def beam_arguments(self) -> list[str]:
        """Return Beam's pipeline options.

        "direct" becomes the full name of the in-process runner, because Beam's default first tries
        to download another one. It also gets an image, which that runner ignores: without one, TFX
        spends 4 s per step on packing itself into an archive that is never unpacked.
        """
        image = "none" if self.beam.runner == "direct" else self.image.name
        given = any(argument.startswith("--sdk_container_image=") for argument in self.beam.args)
        own = [f"--sdk_container_image={image}"] if image and not given else []
        return [f"--runner={BEAM_RUNNERS[self.beam.runner][0]}", *own, *self.beam.args]

    def text_settings(self) -> TextSettings:
        """Return the settings that turn text into token ids."""
        return TextSettings(**_fields(self.trainer, TextSettings))

    def hparams(self) -> HParams:
        """Return the hyper-parameters, which the Tuner may override."""
        return HParams(**_fields(self.trainer, HParams))

    def training_settings(
        self, checkpoint_directory: str = "", code_digest: str = ""
    ) -> TrainingSettings:
        """Return the settings of a training run that the Tuner does not change."""
        return TrainingSettings(
            **_fields(self.trainer, TrainingSettings),
            checkpoint_directory=checkpoint_directory,
            code_digest=code_digest,
        )

    def tuner_settings(self) -> TunerSettings:
        """Return the settings of the Tuner's search."""
        return TunerSettings(**_fields(self.tuner, TunerSettings))

    def origin(self, key: str) -> str:
        """Return a readable origin of the value of a dotted key."""
        return self._origins.get(key, DEFAULT_ORIGIN)

    def to_dict(self) -> dict[str, Any]:
        """Return all values as nested plain types, with passwords masked."""
        values = self.model_dump(mode="json", exclude_none=True)
        for key in (key for key, field in keys(type(self)).items() if is_secret(field)):
            section, _, name = key.rpartition(".")
            values[section][name] = mask_password(values[section][name])
        return values


def _absolute(path: str) -> str:
    return path if "://" in path else str(Path(path).expanduser().absolute())


def mask_password(url: str) -> str:
    """Return the URL with its password replaced by ``***``."""
    parts = urlsplit(url)
    if not parts.password:
        return url
    netloc = f"{parts.username}:***@{parts.netloc.rpartition('@')[2]}"
    return urlunsplit(parts._replace(netloc=netloc))


def _fields(
    section: Section,
    record: type[HParams | TextSettings | TrainingSettings | TunerSettings],
) -> dict[str, Any]:
    """Return the section's values for which the record has a field."""
    values = section.model_dump()
    return {f.name: values[f.name] for f in dataclasses.fields(record) if f.name in values}


def _explain(error: ValidationError, origins: Mapping[str, str]) -> str:
    """Return the first problem of a failed validation as one line."""
    problem = error.errors()[0]
    known = keys(Config)
    parts = [str(part) for part in problem["loc"]]
    key = next(
        (name for end in range(len(parts), 0, -1) if (name := ".".join(parts[:end])) in known),
        None,
    )
    if key is None:  # a rule over several keys of a section
        return f"[{'.'.join(parts)}] {problem['msg'].removeprefix('Value error, ')}"
    rule = f"must be {legal(known[key])}"
    if problem["type"] == "value_error":
        rule = problem["msg"].removeprefix("Value error, ")
    received = "a malformed URL" if is_secret(known[key]) else repr(problem["input"])
    origin = origins.get(key, DEFAULT_ORIGIN)
    return f"{key}: {rule}; received {received} ({origin})"


# Reads the config; ``Config.load`` documents the arguments and errors.
load = Config.load
