"""Where a pipeline runs, and the ``bert`` command."""
