"""What the model server is told at start. Fields carry the names of TensorFlow Serving's flags."""

import dataclasses
import os

from modules.contract.errors import UserError

#: What ``precision`` may be.
PRECISIONS = ("auto", "float32", "bfloat16")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """One server. Defaults are TensorFlow Serving's where it has them.

    Attributes:
        host: address to listen on; loopback unless told otherwise.
        port: of gRPC; 0 takes a free one.
        rest_api_port: of HTTP; 0 takes a free one.
        rest_api_timeout_in_ms: longest a REST call may take.
        grpc_max_threads: concurrent gRPC calls.
        model_name: with ``model_base_path``: the one model's name.
        model_base_path: folder of numbered versions; made absolute.
        model_config_file: text ``ModelServerConfig``; the two above are ignored then.
        model_config_file_poll_wait_seconds: how often that file is read again; 0 never.
        file_system_poll_wait_seconds: how often for new versions; 0 once, negative never.
        allow_version_labels_for_unavailable_models: a reload may give a new label to a version
            that is not served yet.
        max_num_load_retries: after the first failure, before a version is given up.
        load_retry_interval_micros: between them; negative does not wait.
        enable_model_warmup: replay ``assets.extra/tf_serving_warmup_requests`` before traffic.
        enable_batching: requests that wait together run together.
        batching_parameters_file: text ``BatchingParameters``.
        monitoring_config_file: text ``MonitoringConfig``.
        tensorflow_intra_op_parallelism: threads of one op; 0 lets the server choose.
        tensorflow_inter_op_parallelism: concurrent ops; 0 lets the server choose.
        num_load_threads: versions that load at the same time.
        precision: "auto" measures ``<key>`` against ``<key>_bfloat16`` where a model has both;
            "float32" and "bfloat16" choose.
        max_batch_size: examples in a merged batch.
        max_batch_tokens: estimated tokens in a merged batch; more gain no throughput (it is flat
            from 512 on for all-MiniLM-L6-v2 on 2 cores), and make short texts wait for long ones.
        max_queued_examples: waiting for one model version; beyond, calls are UNAVAILABLE.
        max_request_examples: in one call; beyond, it is INVALID_ARGUMENT.
        max_request_bytes: of a request's body, unpacked.
        drain_seconds: how long SIGTERM, and the unloading of a version, wait for its calls.
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
                "nothing to serve: give model_base_path, a folder of numbered model versions, or "
                "model_config_file"
            )
        if self.batching_parameters_file and not self.enable_batching:
            raise UserError("batching_parameters_file is set, but enable_batching is false")
        for name in ("port", "rest_api_port"):
            if not 0 <= getattr(self, name) <= 65_535:
                raise UserError(f"{name} must be 0 to 65535, not {getattr(self, name)}")
        for name in _POSITIVE:
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in _NOT_NEGATIVE:
            if getattr(self, name) < 0:
                raise UserError(f"{name} must not be negative: {getattr(self, name)}")
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
