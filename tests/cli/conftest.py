from tests.runners.recorded_runs import (  # noqa: F401
    add_run,
    config,
    make_metadata,
    metadata,
)
