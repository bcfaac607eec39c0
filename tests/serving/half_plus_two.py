"""The model of TensorFlow Serving's own tests: y = x / 2 + 2, in every kind of signature.

Signatures, shapes and op names are those of its saved_model_half_plus_two; weights are constants.
"""

from pathlib import Path

from tests.serving.saved_model_writer import (
    CLASSIFY,
    FLOAT,
    PREDICT,
    REGRESS,
    STRING,
    Graph,
    shape_of,
    type_of,
)

_COLUMN = (-1, 1)


def write(directory: Path, *, increment: float = 2.0) -> Path:
    """Write one version.

    Args:
        directory: folder of the version; must not exist.
        increment: added to half of ``x``, to distinguish versions.

    Returns:
        The folder.
    """
    graph = Graph()
    graph.constant("a", 0.5, FLOAT)
    graph.constant("b", increment, FLOAT)
    graph.constant("c", increment + 1, FLOAT)
    graph.placeholder("tf_example", STRING)
    graph.constant("names", [], STRING, (0,))
    graph.constant("key_x", b"x", STRING)
    graph.constant("key_x2", b"x2", STRING)
    graph.constant("no_default", [], FLOAT, (0,))
    graph.constant("default_x2", 0.0, FLOAT, (1,))
    inputs = ["tf_example", "names", "key_x", "key_x2", "no_default", "default_x2"]
    graph.op(
        "ParseExample",
        "parsed",
        inputs,
        Nsparse=0,
        Ndense=2,
        sparse_types=[],
        Tdense=[type_of(FLOAT)] * 2,
        dense_shapes=[shape_of((1,))] * 2,
    )
    graph.op("Identity", "x", ["parsed:0"], T=type_of(FLOAT))
    graph.op("Identity", "x2", ["parsed:1"], T=type_of(FLOAT))
    for source, addend, result in (("x", "b", "y"), ("x", "c", "y2"), ("x2", "c", "y3")):
        graph.op("Mul", f"{result}/half", ["a", source], T=type_of(FLOAT))
        graph.op("Add", result, [f"{result}/half", addend], T=type_of(FLOAT))
    examples = {"inputs": ("tf_example", STRING, None)}
    graph.signature(
        "serving_default", {"x": ("x", FLOAT, _COLUMN)}, {"y": ("y", FLOAT, _COLUMN)}, PREDICT
    )
    for key, tensors, result in (
        ("x_to_y", examples, "y"),
        ("x2_to_y3", {"inputs": ("x2", FLOAT, _COLUMN)}, "y3"),
    ):
        output = (result, FLOAT, _COLUMN)
        graph.signature(f"classify_{key}", tensors, {"scores": output}, CLASSIFY)
        graph.signature(f"regress_{key}", tensors, {"outputs": output}, REGRESS)
    graph.signature("regress_x_to_y2", examples, {"outputs": ("y2", FLOAT, _COLUMN)}, REGRESS)
    return graph.write(directory)
