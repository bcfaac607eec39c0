"""Call a model server over gRPC with TensorFlow Serving's official stubs.

    python examples/grpc_client.py [HOST:PORT [MODEL]]

Needs the packages grpcio, tensorflow-serving-api and tensorflow, which takes seconds to import.
``serving.client`` uses the same protocol without TensorFlow.
"""

import sys

import grpc
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc


def main() -> None:
    """Classify two texts."""
    address = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:8500"
    model = sys.argv[2] if len(sys.argv) > 2 else "default"
    texts = ["A good film.", "A bad hotel."]

    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = "serving_default"
    # To select a version: request.model_spec.version.value = 1, or version_label = "stable"
    request.inputs["text"].CopyFrom(tf.make_tensor_proto(texts))

    with grpc.insecure_channel(address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        try:
            response = stub.Predict(request, timeout=30)
        except grpc.RpcError as error:
            sys.exit(f"{error.code().name}: {error.details()}")
    labels = tf.make_ndarray(response.outputs["label"])
    scores = tf.make_ndarray(response.outputs["score"])
    for text, label, score in zip(texts, labels, scores, strict=True):
        print(f"{label.decode()}\t{score:.4f}\t{text}")


if __name__ == "__main__":
    main()
