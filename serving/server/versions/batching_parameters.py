"""TensorFlow Serving's ``--batching_parameters_file``: ``BatchingParameters`` in text format.

tensorflow-serving-api does not contain the message
(servables/tensorflow/session_bundle_config.proto), so it is declared here.

::

    max_batch_size                 maximum number of examples in a batch
    batch_timeout_micros           time that an incomplete batch waits for more; absent: none
    max_enqueued_batches           multiplied by max_batch_size: examples that may wait
    num_batch_threads              batches that run at the same time
    allowed_batch_sizes            sizes to which batches are padded
    pad_variable_length_inputs     whether trailing dimensions are padded to the same size
    enable_large_batch_splitting   whether a larger request is split rather than run as one
    max_execution_batch_size       with splitting: limit of a batch; max_batch_size limits a request
    thread_pool_name               accepted and ignored
"""

import dataclasses
from typing import Any

from modules.contract.errors import UserError
from serving.server.batches.batching import BatchLimits
from serving.server.message_class import message_class
from serving.server.versions.model_config import read_text_proto

_FILE = """
name: "serving/batching_parameters.proto" package: "bert_tfx.serving" syntax: "proto3"
dependency: "google/protobuf/wrappers.proto"
message_type {
  name: "BatchingParameters"
  field { name: "max_batch_size" number: 1 type_name: ".google.protobuf.Int64Value" }
  field { name: "batch_timeout_micros" number: 2 type_name: ".google.protobuf.Int64Value" }
  field { name: "max_enqueued_batches" number: 3 type_name: ".google.protobuf.Int64Value" }
  field { name: "num_batch_threads" number: 4 type_name: ".google.protobuf.Int64Value" }
  field { name: "thread_pool_name" number: 5 type_name: ".google.protobuf.StringValue" }
  field { name: "allowed_batch_sizes" number: 6 type: TYPE_INT64 label: LABEL_REPEATED }
  field { name: "pad_variable_length_inputs" number: 7 type: TYPE_BOOL }
  field { name: "enable_large_batch_splitting" number: 8 type_name: ".google.protobuf.BoolValue" }
  field { name: "max_execution_batch_size" number: 9 type_name: ".google.protobuf.Int64Value" }
}
"""


@dataclasses.dataclass(frozen=True)
class BatchingParameters:
    """Parameters in a file.

    Attributes:
        num_batch_threads: number of batches that run at the same time; None if the file does not
            set it.
        message: the ``BatchingParameters`` message.
    """

    num_batch_threads: int | None
    message: Any

    def apply(self, limits: BatchLimits) -> BatchLimits:
        """Return the limits with the values of the file."""
        message = self.message
        changes: dict[str, Any] = {
            "allowed_batch_sizes": tuple(message.allowed_batch_sizes),
            "pad_variable_length": message.pad_variable_length_inputs,
        }
        size = limits.max_batch_size
        if message.HasField("max_batch_size"):
            size = message.max_batch_size.value
        changes["max_batch_size"] = size
        if message.enable_large_batch_splitting.value:
            changes["max_batch_size"] = _execution_size(message, size)
            changes["split_large"] = True
        if message.HasField("batch_timeout_micros"):
            changes["timeout_seconds"] = message.batch_timeout_micros.value / 1e6
        if message.HasField("max_enqueued_batches"):
            changes["max_queued_examples"] = max(message.max_enqueued_batches.value * size, 1)
        return dataclasses.replace(limits, **changes)


def read(path: str) -> BatchingParameters:
    """Read and check a file.

    Raises:
        UserError: the file cannot be read, or a value is out of range.
    """
    message = read_text_proto(path, message_class(_FILE, "BatchingParameters")())
    for name in ("max_batch_size", "num_batch_threads", "max_execution_batch_size"):
        if message.HasField(name) and getattr(message, name).value < 1:
            raise UserError(f"{path}: {name} must be at least 1")
    for name in ("batch_timeout_micros", "max_enqueued_batches"):
        if message.HasField(name) and getattr(message, name).value < 0:
            raise UserError(f"{path}: {name} must not be negative")
    _check_allowed_sizes(path, message)
    threads = message.num_batch_threads.value if message.HasField("num_batch_threads") else None
    return BatchingParameters(threads, message)


def _check_allowed_sizes(path: str, message: Any) -> None:
    sizes = list(message.allowed_batch_sizes)
    if not sizes:
        return
    if sizes != sorted(set(sizes)) or sizes[0] < 1:
        raise UserError(f"{path}: allowed_batch_sizes entries must be monotonically increasing")
    # 1000 is TensorFlow Serving's default.
    size = message.max_batch_size.value if message.HasField("max_batch_size") else 1000
    name = "max_batch_size"
    if message.enable_large_batch_splitting.value:
        size, name = _execution_size(message, size), "max_execution_batch_size"
    if sizes[-1] != size:
        raise UserError(
            f"{path}: Last entry in allowed_batch_sizes must match {name}; last entry was "
            f"{sizes[-1]}; expected {size}"
        )


def _execution_size(message: Any, max_batch_size: int) -> int:
    if message.HasField("max_execution_batch_size"):
        return int(message.max_execution_batch_size.value)
    return max_batch_size
