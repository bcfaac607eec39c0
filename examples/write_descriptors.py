"""Write the protocol of TensorFlow Serving's PredictionService as a FileDescriptorSet.

    python examples/write_descriptors.py FILE

grpcurl (``-protoset``), Postman, evans and buf read such files. The messages come from the package
tensorflow-serving-api. The service is defined here, because the package's own module for it does
not load with newer versions of protobuf.
"""

import sys
from pathlib import Path

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    inference_pb2,
    predict_pb2,
    regression_pb2,
)

METHODS = {
    "Classify": (classification_pb2, "Classification"),
    "Regress": (regression_pb2, "Regression"),
    "Predict": (predict_pb2, "Predict"),
    "MultiInference": (inference_pb2, "MultiInference"),
    "GetModelMetadata": (get_model_metadata_pb2, "GetModelMetadata"),
}


def main() -> None:
    """Write the descriptors to the file."""
    descriptors = FileDescriptorSet()
    seen: set[str] = set()

    def add(file: FileDescriptor) -> None:
        if file.name in seen:
            return
        seen.add(file.name)
        for dependency in file.dependencies:  # dependencies must come first
            add(dependency)
        file.CopyToProto(descriptors.file.add())

    service_file = FileDescriptorProto(
        name="tensorflow_serving/apis/prediction_service.proto",
        package="tensorflow.serving",
        syntax="proto3",
    )
    service = service_file.service.add(name="PredictionService")
    for method, (module, message) in METHODS.items():
        add(module.DESCRIPTOR)
        service_file.dependency.append(module.DESCRIPTOR.name)
        service.method.add(
            name=method,
            input_type=f".tensorflow.serving.{message}Request",
            output_type=f".tensorflow.serving.{message}Response",
        )
    descriptors.file.append(service_file)
    Path(sys.argv[1]).write_bytes(descriptors.SerializeToString())


if __name__ == "__main__":
    main()
