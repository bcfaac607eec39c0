"""Local runs: one worker process per run."""
