"""Request handling that REST and gRPC share."""
