"""Model server settings, named after TensorFlow Serving's flags."""

import dataclasses
import os

from modules.contract.errors import UserError

#: Valid values of ``precision``.
PRECISIONS = ("auto", "float32", "bfloat16")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """Settings of one server. Defaults are TensorFlow Serving's, for settings that it has too.

    Attributes:
        host: address to listen on; loopback by default.
        port: gRPC port; 0 selects a free port.
        rest_api_port: HTTP port; 0 selects a free port.
        rest_api_timeout_in_ms: time limit of a REST call, in milliseconds.
        grpc_max_threads: maximum number of concurrent gRPC calls.
        model_name: name of the model in ``model_base_path``.
        model_base_path: folder of numbered version folders; made absolute.
        model_config_file: ``ModelServerConfig`` in text format; replaces ``model_name`` and
            ``model_base_path``.
        model_config_file_poll_wait_seconds: interval at which the file is checked for changes; 0
            never checks.
        file_system_poll_wait_seconds: interval at which folders are polled for versions; 0 polls
            only at start, a negative value never.
        allow_version_labels_for_unavailable_models: whether a reload may assign a new label to a
            version that is not served yet.
        allow_reload_config: whether callers of gRPC may replace the served models
            (HandleReloadConfigRequest), within the folders that the server was started with.
        allow_unsafe_ops: whether models may contain operations that read or write files or run
            Python.
        max_num_load_retries: number of further attempts to load a version that failed to load.
        load_retry_interval_micros: microseconds between attempts; a negative value does not wait.
        enable_model_warmup: whether ``assets.extra/tf_serving_warmup_requests`` is replayed before
            a version receives traffic.
        enable_batching: whether queued requests run together.
        batching_parameters_file: ``BatchingParameters`` in text format.
        monitoring_config_file: ``MonitoringConfig`` in text format.
        tensorflow_intra_op_parallelism: threads for one op; 0 lets the server choose.
        tensorflow_inter_op_parallelism: concurrent ops; 0 lets the server choose.
        num_load_threads: number of versions that load at the same time.
        precision: "float32", "bfloat16", or "auto", which measures ``<key>`` and
            ``<key>_bfloat16`` and runs the faster one, for a model that has both.
        max_batch_size: maximum number of examples in a merged batch.
        max_batch_tokens: maximum estimated tokens in a merged batch. Larger values do not raise
            throughput (it is flat from 512 on for all-MiniLM-L6-v2 on 2 cores) and make short texts
            wait for long ones.
        max_queued_examples: maximum number of examples that wait for a version; further calls fail
            with UNAVAILABLE.
        max_request_examples: maximum number of examples in a call; larger ones fail with
            INVALID_ARGUMENT.
        max_request_bytes: maximum size of a request body, after decompression.
        drain_seconds: how long SIGTERM, or unloading a version, waits for running calls.

    Raises:
        UserError: a setting is out of range, or nothing is configured to be served.
    """

    host: str = "127.0.0.1"
    port: int = 8500
    rest_api_port: int = 8501
    rest_api_timeout_in_ms: int = 30_000
    grpc_max_threads: int = 64
    model_name: str = "default"
    model_base_path: str = ""
    model_config_file: str = ""
    model_config_file_poll_wait_seconds: float = 0
    file_system_poll_wait_seconds: float = 1
    allow_version_labels_for_unavailable_models: bool = False
    allow_reload_config: bool = False
    allow_unsafe_ops: bool = False
    max_num_load_retries: int = 5
    load_retry_interval_micros: int = 60_000_000
    enable_model_warmup: bool = True
    enable_batching: bool = True
    batching_parameters_file: str = ""
    monitoring_config_file: str = ""
    tensorflow_intra_op_parallelism: int = 0
    tensorflow_inter_op_parallelism: int = 0
    num_load_threads: int = 1
    precision: str = "auto"
    max_batch_size: int = 64
    max_batch_tokens: int = 1024
    max_queued_examples: int = 4096
    max_request_examples: int = 4096
    max_request_bytes: int = 32 * 1024 * 1024
    drain_seconds: float = 30

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            legal = ", ".join(PRECISIONS)
            raise UserError(f"precision must be one of {legal}, not {self.precision!r}")
        if not self.model_base_path and not self.model_config_file:
            raise UserError(
                "nothing to serve; set model_base_path to a folder of numbered model versions, or "
                "set model_config_file"
            )
        if self.batching_parameters_file and not self.enable_batching:
            raise UserError("batching_parameters_file needs batching, but enable_batching is false")
        for name in ("port", "rest_api_port"):
            if not 0 <= getattr(self, name) <= 65_535:
                raise UserError(f"{name} must be 0 to 65535, not {getattr(self, name)}")
        for name in _POSITIVE:
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in _NOT_NEGATIVE:
            if getattr(self, name) < 0:
                raise UserError(f"{name} must not be negative, not {getattr(self, name)}")
        if self.model_base_path and "://" not in self.model_base_path:
            object.__setattr__(self, "model_base_path", os.path.abspath(self.model_base_path))

    @property
    def request_timeout_seconds(self) -> float:
        """``rest_api_timeout_in_ms`` in seconds."""
        return self.rest_api_timeout_in_ms / 1000


_POSITIVE = (
    "rest_api_timeout_in_ms",
    "grpc_max_threads",
    "num_load_threads",
    "max_batch_size",
    "max_batch_tokens",
    "max_queued_examples",
    "max_request_examples",
    "max_request_bytes",
)
_NOT_NEGATIVE = (
    "model_config_file_poll_wait_seconds",
    "max_num_load_retries",
    "tensorflow_intra_op_parallelism",
    "tensorflow_inter_op_parallelism",
    "drain_seconds",
)
