"""Garbage collector settings for all tests: imported objects stay, so collections skip them."""

import gc


def pytest_configure() -> None:
    """Disable collections during import: test modules create a million objects, which all stay."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Exclude existing objects from later collections; Keras starts one for each new session."""
    gc.freeze()
    gc.enable()
    gc.set_threshold(20_000)  # tests create many objects, few of which survive
