"""Parts that the remote platforms share: contract, checks, pipeline spec, container entrypoint."""
