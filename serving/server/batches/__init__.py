"""Request batching: queue, grouping and execution."""
