"""Shared parts of the remote platforms: contract, checks, pipeline spec, container entrypoint."""
