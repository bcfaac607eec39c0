"""gRPC services of the model server."""
