"""Client for TensorFlow Serving and ``bert serve``: one API over REST and gRPC.

The scheme of the URL selects the transport::

    with Client("http://127.0.0.1:8501", labels="serving_models/reviews") as client:
        client.predict(["A warm room.", "Two hours I will not get back."])
        client.predict_tensors({"text": ["A warm room."]}, outputs=["scores"])
        for prediction in client.predict_stream(open("reviews.txt")):
            print(prediction.label, prediction.score)

``AsyncClient`` has the same methods for programs that run an event loop, except
``predict_stream``. A failed call raises a ``ClientError``; an invalid argument raises a
``UserError``. Importing this package does not import TensorFlow.
"""

from serving.client.answers import Prediction, read_labels
from serving.client.async_client import AsyncClient
from serving.client.client import Client
from serving.client.errors import (
    ClientError,
    ConnectionFailedError,
    DeadlineExceededError,
    RequestRefusedError,
    UnexpectedAnswerError,
)
from serving.client.signature_metadata import ModelMetadata, SignatureMetadata, TensorMetadata

__all__ = [
    "AsyncClient",
    "Client",
    "ClientError",
    "ConnectionFailedError",
    "DeadlineExceededError",
    "ModelMetadata",
    "Prediction",
    "RequestRefusedError",
    "SignatureMetadata",
    "TensorMetadata",
    "UnexpectedAnswerError",
    "read_labels",
]
