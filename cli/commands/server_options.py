"""Options of ``bert serve``: every field of ``ServerSettings``, named as in TensorFlow Serving.

Defaults come from the settings, so they are declared once. A test compares the names in ``HELP``
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
    "port": "gRPC port; 0 selects a free one.",
    "rest_api_port": "REST port; 0 selects a free one.",
    "model_name": "Name of the model in URLs and calls.",
    "model_base_path": "Folder of version folders; default: the config's push directory.",
    "model_config_file": "Text ModelServerConfig: several models, version policies, labels.",
    "model_config_file_poll_wait_seconds": "Seconds between checks of that file; 0 never checks.",
    "file_system_poll_wait_seconds": "Seconds between polls for versions; 0 once, below 0 never.",
    "allow_version_labels_for_unavailable_models": "Allow new labels on versions not yet served.",
    "allow_reload_config": "Let gRPC callers replace the models (HandleReloadConfigRequest).",
    "allow_unsafe_ops": "Load models whose graph reads or writes files or runs Python.",
    "max_num_load_retries": "Retries for a version that fails to load.",
    "load_retry_interval_micros": "Microseconds between these retries; below 0 does not wait.",
    "num_load_threads": "Number of versions that load at the same time.",
    "enable_model_warmup": "Replay the model's warm-up requests before it receives traffic.",
    "enable_batching": "Run waiting requests together.",
    "batching_parameters_file": "Text BatchingParameters.",
    "max_batch_size": "Maximum examples in a merged batch.",
    "max_batch_tokens": "Maximum estimated tokens in a merged batch; a larger request is split.",
    "precision": "float32, bfloat16, or auto, which measures both and chooses.",
    "tensorflow_intra_op_parallelism": "Threads for one op; 0 lets the server choose.",
    "tensorflow_inter_op_parallelism": "Concurrent ops; 0 lets the server choose.",
    "grpc_max_threads": "Maximum concurrent gRPC calls.",
    "rest_api_timeout_in_ms": "Time limit of a REST call in milliseconds.",
    "max_queued_examples": "Examples that may wait for a version; further calls are UNAVAILABLE.",
    "max_request_examples": "Maximum examples in a call; a larger call is an INVALID_ARGUMENT.",
    "max_request_bytes": "Maximum size of a request body, after decompression.",
    "monitoring_config_file": "Text MonitoringConfig: path of the Prometheus metrics page.",
    "drain_seconds": "Seconds that a stop, or unloading a version, waits for running calls.",
}

_METAVARS = {bool: "BOOL", int: "N", float: "N"}
_TRUE, _FALSE = ("true", "1", "yes"), ("false", "0", "no")


def with_server_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add one option for each setting of the server to a command.

    Args:
        command: receives them in its keyword argument ``flags``, a dict by name. It holds only the
            options that were given, so that a command can tell a choice from a default.
    """

    def run(**values: Any) -> None:
        flags = {name: values.pop(name) for name in HELP}
        given = {name: value for name, value in flags.items() if value is not None}
        command(**values, flags=given)

    own = [p for p in inspect.signature(command).parameters.values() if p.name != "flags"]
    fields = {field.name: field for field in dataclasses.fields(ServerSettings)}
    added = [_parameter(fields[name]) for name in HELP]
    parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
    run.__signature__ = inspect.Signature([*added, *parameters])  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in [*added, *parameters]}
    run.__doc__, run.__name__ = command.__doc__, command.__name__
    return run


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
    # Typer would turn a bool into a pair of flags; TensorFlow Serving's switches take a value.
    given = (str if is_switch else kind) | None
    annotation: Any = Annotated[given, option]  # type: ignore[valid-type]
    return inspect.Parameter(
        field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
    )


def _metavar(name: str) -> str:
    if name.endswith("_file"):
        return "FILE"
    return {"model_base_path": "FOLDER", "host": "ADDRESS"}.get(name, "NAME")


def _read_bool(word: str) -> bool:
    if str(word).lower() in _TRUE:
        return True
    if str(word).lower() in _FALSE:
        return False
    raise UserError(
        f"a switch must be true or false, received {word!r}; write --enable_batching=false"
    )
