"""TensorFlow's and TensorFlow Serving's protocol buffers, without TensorFlow.

The generated modules of ``tensorflow-serving-api`` import ``tensorflow.core...``, and importing any
part of ``tensorflow`` imports all of it, which takes seconds and hundreds of megabytes that a
client and the server's front process do not need. If TensorFlow is not loaded yet, the generated
modules are imported under an empty package of the same name and path, which is removed afterwards,
so that a later ``import tensorflow`` in the same process works as usual.
"""

# This module exports what it imports.
# mypy: implicit-reexport
# ruff: noqa: F401

import contextlib
import importlib.machinery
import importlib.util
import sys
import types
from collections.abc import Iterator


@contextlib.contextmanager
def _tensorflow_unloaded() -> Iterator[None]:
    """Allow imports of ``tensorflow.core`` without ``tensorflow/__init__.py``."""
    if "tensorflow" in sys.modules:
        yield
        return
    spec = importlib.util.find_spec("tensorflow")
    if spec is None or spec.submodule_search_locations is None:
        raise ImportError("TensorFlow is not installed; `make env` installs it")
    stub = types.ModuleType("tensorflow")
    stub.__path__ = list(spec.submodule_search_locations)
    stub.__spec__ = importlib.machinery.ModuleSpec("tensorflow", None, is_package=True)
    sys.modules["tensorflow"] = stub
    try:
        yield
    finally:
        for name in [name for name in sys.modules if name.split(".")[0] == "tensorflow"]:
            del sys.modules[name]


with _tensorflow_unloaded():
    from tensorflow.core.example import example_pb2
    from tensorflow.core.framework import tensor_pb2, tensor_shape_pb2, types_pb2
    from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2
    from tensorflow_serving.apis import (
        classification_pb2,
        get_model_metadata_pb2,
        get_model_status_pb2,
        inference_pb2,
        input_pb2,
        model_management_pb2,
        model_pb2,
        model_service_pb2_grpc,
        predict_pb2,
        prediction_log_pb2,
        prediction_service_pb2_grpc,
        regression_pb2,
    )
    from tensorflow_serving.config import (
        file_system_storage_path_source_pb2,
        model_server_config_pb2,
    )
