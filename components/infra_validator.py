"""InfraValidator: serves the export and compares the server's answers with the trainer's.

TFX's own InfraValidator checks that a model loads and answers *something*. This one replays over
REST and gRPC the texts that the trainer exported with its own answers, so a model that loads but
answers differently is refused. A model that cannot be checked is not blessed.
"""

import contextlib
import dataclasses
import json
import os
import tempfile
import time
from collections.abc import Iterator
from typing import Any, Self

from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.dsl.io import fileio
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.utils import io_utils, path_utils

from components.artifacts import Artifacts
from components.blessing import mark_blessing
from components.infra_validation.checks import Failure, Limits, check_limits, check_reply
from components.infra_validation.model_servers import (
    KUBERNETES,
    MODEL_NAME,
    PROCESS,
    SERVERS,
    open_server,
    parse_image,
)
from components.infra_validation.serving_ops import foreign_ops
from modules.contract import features
from modules.contract.errors import ModelError, UserError

#: Entry modules for the code digest: this one, and the server that it starts by name.
ENTRY_MODULES = ("components.infra_validator", "components.infra_validation.embedded_server")

REPORT = "report.json"
MEASUREMENTS = ("load_seconds", "peak_memory_mb", "p50_ms", "p99_ms", "model_size_mb")


@dataclasses.dataclass(frozen=True)
class InfraValidatorSettings:
    """Settings of the InfraValidator.

    Attributes:
        server: "process", "docker" or "kubernetes"; see ``infra_validation.model_servers``.
        image: image of TensorFlow Serving to run, or with "process", whose ops an export may use.
        docker_host: URL of the Docker engine; empty: its default socket.
        service_account: service account of the pod in Kubernetes; empty: the pipeline's own.
        texts: number of the trainer's texts to replay; 0 replays all.
        tolerance: largest accepted difference of a score from the trainer's.
        limits: limits on load time, memory, latency and size.
        timeout_seconds: time after which the server is stopped and the model refused.
    """

    server: str = PROCESS
    image: str = "tensorflow/serving:2.19.1"
    docker_host: str = ""
    service_account: str = ""
    texts: int = 16
    tolerance: float = 1e-4
    limits: Limits = dataclasses.field(default_factory=Limits)
    timeout_seconds: float = 300.0

    @classmethod
    def create(cls, **values: Any) -> Self:
        """Create the settings from configuration values and check them.

        Args:
            **values: the attributes, with those of ``limits`` among them.

        Raises:
            UserError: a value is negative, the server is unknown, the image has no fixed tag, or
                the memory is limited in Kubernetes.
        """
        limits = {field.name for field in dataclasses.fields(Limits)} & values.keys()
        settings = cls(limits=Limits(**{name: values.pop(name) for name in limits}), **values)
        settings._check()
        return settings

    def _check(self) -> None:
        numbers = {
            "texts": self.texts,
            "tolerance": self.tolerance,
            **dataclasses.asdict(self.limits),
            "timeout_seconds": self.timeout_seconds,
        }
        for name, number in numbers.items():
            if number < 0:
                raise UserError(
                    f"infra_validator.{name} must be 0 or more; got {number}; try "
                    f"`--set infra_validator.{name}=0`"
                )
        if self.server not in SERVERS:
            legal = ", ".join(SERVERS)
            raise UserError(f"infra_validator.server must be one of {legal}; got {self.server!r}")
        parse_image(self.image)
        if self.server == KUBERNETES and self.limits.max_memory_mb:
            raise UserError(
                "infra_validator.max_memory_mb cannot be measured in a pod; set it to 0, or set "
                "infra_validator.server = process"
            )

    def to_json(self) -> str:
        """Return the settings as JSON with sorted keys, so that equal settings give equal text."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Create the settings from the output of ``to_json``."""
        values = json.loads(text)
        return cls(**{**values, "limits": Limits(**values["limits"])})


class InfraValidatorExecutor(base_executor.BaseExecutor):
    """Executor that replays the trainer's texts and compares the answers."""

    def Do(  # noqa: N802 - TFX's name
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]
    ) -> None:
        """Check the model, write the report, and bless or refuse the model.

        Args:
            input_dict: ``model`` and optionally ``examples``.
            output_dict: ``blessing``.
            exec_properties: ``settings``, JSON of ``InfraValidatorSettings``.

        Raises:
            UserError: the Docker engine or Kubernetes cannot be used.
        """
        settings = InfraValidatorSettings.from_json(exec_properties["settings"])
        model = artifact_utils.get_single_instance(input_dict["model"])
        blessing = artifact_utils.get_single_instance(output_dict["blessing"])
        export = path_utils.serving_model_path(model.uri)

        examples = read_test_examples(input_dict.get("examples"), settings)
        with _served_copy(export, blessing.uri, settings.server) as served:
            report = validate(served, examples, settings)
        report["model"] = export
        with fileio.open(os.path.join(blessing.uri, REPORT), "w") as file:
            file.write(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
        mark_blessing(
            blessing,
            model,
            blessed=report["blessed"],
            outcome=summarise(report),
            file_prefix="INFRA_",
        )
        for key in MEASUREMENTS:
            if key in report:
                blessing.set_float_custom_property(key, float(report[key]))


@contextlib.contextmanager
def _served_copy(export: str, folder: str, server: str) -> Iterator[str]:
    """Yield the path of the export for the server.

    A pod reads the model from ``NAME/VERSION``, TensorFlow Serving's layout, so it gets a temporary
    copy next to the blessing. The other servers get a local folder.
    """
    if server != KUBERNETES and os.path.isdir(export):
        yield export
        return
    if server == KUBERNETES:
        parent = os.path.join(folder, "served")
    else:
        parent = tempfile.mkdtemp(prefix="infra-validation-")
    copy = os.path.join(parent, MODEL_NAME, "1")
    try:
        io_utils.copy_dir(export, copy)
        yield copy
    finally:
        fileio.rmtree(parent)


def validate(
    export: str, examples: list[bytes], settings: InfraValidatorSettings
) -> dict[str, Any]:
    """Check one export.

    Args:
        export: folder of the SavedModel, as the server reads it.
        examples: raw tf.Examples of the test split; may be empty.
        settings: settings of the InfraValidator.

    Returns:
        The content of ``report.json``: ``blessed``, ``failures``, ``texts`` and the measurements.

    Raises:
        UserError: the Docker engine or Kubernetes cannot be used.
    """
    report: dict[str, Any] = {"blessed": False, "server": settings.server, "texts": 0}
    failures: list[Failure] = []
    try:
        expected = read_expected_answers(export)
        if settings.texts:
            expected = expected[: settings.texts]
        report |= {"texts": len(expected), "model_size_mb": _size_mb(export)}
        if settings.server == PROCESS:  # the others run the stock server itself
            ops = foreign_ops(export, settings.image)
            failures += [Failure("op", f"{settings.image} cannot run the op {op}") for op in ops]
        reply = _serve_and_replay(export, expected, examples, settings)
        report |= {key: round(reply[key], 3) for key in MEASUREMENTS if key in reply}
        report["latency_ms"] = reply["latency_ms"]
        failures += check_reply(reply, expected, settings.tolerance)
        failures += check_limits(report, settings.limits)
    except ModelError as error:
        failures.append(Failure("model", str(error)))
    report["failures"] = [failure.to_dict() for failure in failures]
    report["blessed"] = not failures
    return report


def _serve_and_replay(
    export: str,
    expected: list[dict[str, Any]],
    examples: list[bytes],
    settings: InfraValidatorSettings,
) -> dict[str, Any]:
    # Imported lazily: building the graph should not import the client.
    from components.infra_validation.server_replay import replay, wait_until_available

    started = time.monotonic()
    deadline = started + settings.timeout_seconds
    texts = [record["text"] for record in expected]
    server = open_server(
        settings.server,
        export,
        deadline,
        image=settings.image,
        docker_host=settings.docker_host,
        service_account=settings.service_account,
    )
    with server as running:
        wait_until_available(running, deadline)
        load_seconds = time.monotonic() - started
        return {"load_seconds": load_seconds, **replay(running, texts, examples, deadline)}


def read_expected_answers(export: str) -> list[dict[str, Any]]:
    """Return the trainer's own answers from the export: ``text``, ``label`` and ``scores`` each.

    Raises:
        ModelError: the export has no answers, or they cannot be read.
    """
    path = os.path.join(export, features.EXTRA_ASSETS, features.EXPECTED_ANSWERS_FILE)
    if not fileio.exists(path):
        raise ModelError(f"the export has no trainer's answers to compare with: no file {path}")
    with fileio.open(path, "rb") as file:
        lines = file.read().decode().splitlines()
    try:
        records = [json.loads(line) for line in lines if line.strip()]
        for record in records:
            if not isinstance(record["text"], str) or not record["scores"]:
                raise ValueError("text or scores are missing")
            record["label"]
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"the trainer's answers cannot be read: {error!r} in {path}") from error
    if not records:
        raise ModelError(f"the file of the trainer's answers is empty: {path}")
    return records


def read_test_examples(
    examples: list[types.Artifact] | None, settings: InfraValidatorSettings
) -> list[bytes]:
    """Return the first ``settings.texts`` raw tf.Examples of the test split; 0 returns all."""
    if not examples:
        return []
    import tensorflow as tf

    uri = artifact_utils.get_split_uri(examples, features.TEST_SPLIT)
    files = sorted(tf.io.gfile.glob(os.path.join(uri, "*")))
    if not files:
        return []
    records = tf.data.TFRecordDataset(files, compression_type="GZIP")
    return list(records.take(settings.texts or -1).as_numpy_iterator())


class InfraValidatorSpec(ComponentSpec):
    """InfraValidator's inputs, outputs and parameters."""

    PARAMETERS = {
        "settings": ExecutionParameter(type=str),
        "code_digest": ExecutionParameter(type=str),
    }
    INPUTS = {
        "model": ChannelParameter(type=standard_artifacts.Model),
        "examples": ChannelParameter(type=standard_artifacts.Examples, optional=True),
    }
    OUTPUTS = {"blessing": ChannelParameter(type=standard_artifacts.InfraBlessing)}


class InfraValidator(base_component.BaseComponent):
    """The InfraValidator node; create it with ``make_infra_validator``."""

    SPEC_CLASS = InfraValidatorSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(InfraValidatorExecutor)


def make_infra_validator(
    *,
    model: types.BaseChannel,
    examples: types.BaseChannel | None = None,
    code_digest: str,
    **settings: Any,
) -> InfraValidator:
    """Create the InfraValidator node.

    Args:
        model: the candidate ``Model``.
        examples: raw ``Examples``; some of the test split are sent to ``serving_examples``.
        code_digest: digest of this module's code, part of TFX's cache key.
        **settings: arguments of ``InfraValidatorSettings.create``.

    Raises:
        UserError: a value is illegal.
    """
    spec = InfraValidatorSpec(
        model=model,
        examples=examples,
        settings=InfraValidatorSettings.create(**settings).to_json(),
        code_digest=code_digest,
        blessing=types.Channel(type=standard_artifacts.InfraBlessing),
    )
    return InfraValidator(spec).with_id("InfraValidator")


def summarise(report: dict[str, Any]) -> str:
    """Return the result of ``validate`` as one line for ``bert show``."""
    failures = report["failures"]
    if failures:
        more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
        return f"refused, {failures[0]['message']}{more}"
    memory = f"{report['peak_memory_mb']:.0f} MiB, " if "peak_memory_mb" in report else ""
    return (
        f"blessed: {report['texts']} answers match the trainer's over REST and gRPC, "
        f"available after {report['load_seconds']:.1f} s, {memory}p99 {report['p99_ms']:.0f} ms"
    )


def _size_mb(export: str) -> float:
    import tensorflow as tf

    total = 0
    for folder, _, names in tf.io.gfile.walk(export):
        total += sum(tf.io.gfile.stat(os.path.join(folder, name)).length for name in names)
    return round(total / 1024 / 1024, 3)
