"""Settings for all tests: garbage collection, and the log of gRPC's core.

Imported objects stay, so collections skip them. gRPC logs closed connections at level INFO from
threads of its own, in the middle of what a test captures.
"""

import gc
import os

os.environ.setdefault("GRPC_VERBOSITY", "ERROR")


def pytest_configure() -> None:
    """Disable collections during import: test modules create a million objects, which all stay."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Exclude existing objects from later collections; Keras starts one for each new session."""
    gc.freeze()
    gc.enable()
    gc.set_threshold(20_000)  # tests create many objects, few of which survive
