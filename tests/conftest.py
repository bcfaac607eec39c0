"""For every test: what was imported stays, so the garbage collector need not look at it again."""

import gc


def pytest_configure() -> None:
    """Import without collecting: test modules bring in a million objects, which all stay."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Keep what is there out of later collections; Keras asks for one with each new session."""
    gc.freeze()
    gc.enable()
    gc.set_threshold(20_000)  # tests make many objects and leave few behind
