"""The options of ``bert serve``: every field of ``ServerSettings``, by TensorFlow Serving's names.

Defaults are the settings' own, so they are declared once. A test compares the help texts' names
with the fields.
"""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from modules.contract.errors import UserError
from serving.server.settings import ServerSettings

#: Field -> its help text, in the order of the help page.
HELP = {
    "host": "Address to listen on. The server has no authentication.",
    "port": "Port of gRPC; 0 takes a free one.",
    "rest_api_port": "Port of REST; 0 takes a free one.",
    "model_name": "The model's name in URLs and calls.",
    "model_base_path": "Folder of version folders; else what the config's pusher pushed.",
    "model_config_file": "Text ModelServerConfig: several models, version policies, labels.",
    "model_config_file_poll_wait_seconds": "How often that file is read again; 0 never.",
    "file_system_poll_wait_seconds": "How often to look for versions; 0 once, below 0 never.",
    "allow_version_labels_for_unavailable_models": "New labels may name versions not yet served.",
    "max_num_load_retries": "Retries before a version is given up.",
    "load_retry_interval_micros": "Microseconds between them; below 0 does not wait.",
    "num_load_threads": "Versions that load at the same time.",
    "enable_model_warmup": "Replay the model's warm-up requests before it takes traffic.",
    "enable_batching": "Requests that wait together run together.",
    "batching_parameters_file": "Text BatchingParameters.",
    "max_batch_size": "Examples in a merged batch.",
    "max_batch_tokens": "Estimated tokens in a merged batch; a larger request runs alone.",
    "precision": "auto measures and chooses; or float32, bfloat16.",
    "tensorflow_intra_op_parallelism": "Threads of one op; 0 lets the server choose.",
    "tensorflow_inter_op_parallelism": "Concurrent ops; 0 lets the server choose.",
    "grpc_max_threads": "Concurrent gRPC calls.",
    "rest_api_timeout_in_ms": "Longest that a REST call may take.",
    "max_queued_examples": "Waiting for one version; beyond, calls are UNAVAILABLE.",
    "max_request_examples": "In one call; beyond, it is an INVALID_ARGUMENT.",
    "max_request_bytes": "Of a request's body, unpacked.",
    "monitoring_config_file": "Text MonitoringConfig: where Prometheus finds the metrics.",
    "drain_seconds": "How long a stop, and the unloading of a version, wait for calls.",
}

_METAVARS = {bool: "BOOL", int: "N", float: "N"}
_TRUE, _FALSE = ("true", "1", "yes"), ("false", "0", "no")


def with_server_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command one option for each setting of the server.

    Args:
        command: takes them as a keyword argument ``flags``, a dict by name; those not given are
            absent, so that a command can tell a default from a choice.
    """

    def run(**values: Any) -> None:
        flags = {name: values.pop(name) for name in HELP}
        given = {name: value for name, value in flags.items() if value is not None}
        command(**values, flags=given)

    own = [p for p in inspect.signature(command).parameters.values() if p.name != "flags"]
    added = [_parameter(field) for field in _fields()]
    parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
    run.__signature__ = inspect.Signature([*added, *parameters])  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in [*added, *parameters]}
    run.__doc__, run.__name__ = command.__doc__, command.__name__
    return run


def _fields() -> list[dataclasses.Field]:
    fields = {field.name: field for field in dataclasses.fields(ServerSettings)}
    return [fields[name] for name in HELP]


def _parameter(field: dataclasses.Field) -> inspect.Parameter:
    kind: Any = field.type
    is_switch = kind is bool
    default = str(field.default).lower() if is_switch else str(field.default)
    option = typer.Option(
        f"--{field.name}",
        metavar=_METAVARS.get(kind) or _metavar(field.name),
        help=HELP[field.name] + (f" [default: {default}]" if default else ""),
        show_default=False,
        parser=_read_bool if is_switch else None,
    )
    # A bool would become a pair of flags; TensorFlow Serving's switches take a value.
    given = (str if is_switch else kind) | None
    annotation: Any = Annotated[given, option]  # type: ignore[valid-type]
    return inspect.Parameter(
        field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
    )


def _metavar(name: str) -> str:
    if name.endswith("_file"):
        return "FILE"
    return {"model_base_path": "FOLDER", "host": "ADDRESS", "precision": "NAME"}.get(name, "NAME")


def _read_bool(word: str) -> bool:
    if str(word).lower() in _TRUE:
        return True
    if str(word).lower() in _FALSE:
        return False
    raise UserError(f"a switch is true or false, not {word!r}, as in --enable_batching=false")
