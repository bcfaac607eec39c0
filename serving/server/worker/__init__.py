"""Worker processes that load and run models."""
