"""A SavedModel in a TensorFlow session. Only for the worker process, because it imports TensorFlow.

It is loaded as TensorFlow Serving loads it: version 1 session, tag "serve", one callable for each
signature and set of outputs.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2, rewriter_config_pb2
from tensorflow.python.saved_model import loader_impl

from serving.protocol.errors import Code, ServingError
from serving.server.worker import graph_safety

TAGS = ("serve",)


class LoadedModel:
    """A SavedModel whose signatures can be run. Thread-safe once loaded.

    Args:
        intra_op_threads: threads for one op; 0 for one per core.
        inter_op_threads: concurrent ops; 0 for one per core, negative to run them in the thread
            that runs the signature.
        own_export: see ``WorkerTask``. If true, each run computes all outputs, because TensorFlow's
            graph optimiser takes 0.6 s for each new set of outputs.
        allow_unsafe_ops: whether to skip ``graph_safety.check``.

    Attributes:
        signatures: ``SignatureDef`` protos by key.
        fingerprint: ``graph_fingerprint`` of an export of this project; empty for other models,
            whose precisions must be compared at each load.
    """

    def __init__(
        self,
        intra_op_threads: int,
        inter_op_threads: int,
        own_export: bool = False,
        allow_unsafe_ops: bool = False,
    ) -> None:
        self._graph = tf.Graph()
        config = tf.compat.v1.ConfigProto(
            intra_op_parallelism_threads=intra_op_threads,
            inter_op_parallelism_threads=inter_op_threads,
        )
        # Grappler's second round does not speed up our graphs (within 1%), and takes a fifth of the
        # time until the first response of a signature.
        config.graph_options.rewrite_options.meta_optimizer_iterations = (
            rewriter_config_pb2.RewriterConfig.ONE
        )
        # Otherwise the whole graph, including restoring and saving, is placed and optimised before
        # anything runs. For other models, loading must verify that the whole graph can be placed.
        config.graph_options.place_pruned_graph = own_export
        # Also creates the thread pools, with the priority of this thread.
        self._session = tf.compat.v1.Session(graph=self._graph, config=config)
        self._own_export = own_export
        self._allow_unsafe_ops = allow_unsafe_ops
        self._callables: dict[tuple[str, tuple[str, ...]], _Callable] = {}
        self.signatures: dict[str, Any] = {}
        self.fingerprint = ""

    def load(self, directory: str) -> None:
        """Read the SavedModel and run its initialisation.

        Raises:
            ServingError: the SavedModel cannot be loaded.
        """
        tf.compat.v1.logging.set_verbosity(tf.compat.v1.logging.ERROR)
        try:
            if not self._allow_unsafe_ops:
                _check_graphs(directory)
            with self._graph.as_default():
                meta_graph = tf.compat.v1.saved_model.load(self._session, TAGS, directory)
        except Exception as error:
            raise _as_serving_error(error) from error
        self.signatures = {
            key: signature
            for key, signature in meta_graph.signature_def.items()
            if not key.startswith("__")  # __saved_model_init_op is not for requests
        }
        if self._own_export:
            self.fingerprint = graph_fingerprint(meta_graph)

    def run(
        self, signature: str, inputs: Mapping[str, np.ndarray], outputs: Sequence[str] = ()
    ) -> dict[str, np.ndarray]:
        """Run a signature.

        Args:
            signature: key of the signature.
            inputs: all inputs by alias.
            outputs: aliases of the outputs to return; empty returns all.

        Returns:
            Arrays by alias; strings are object arrays of ``bytes``.

        Raises:
            ServingError: the graph failed; with its code and message.
        """
        computed = () if self._own_export else tuple(outputs)
        key = (signature, computed)
        try:
            # Two threads may both create it; the callables are the same.
            call = self._callables.get(key) or self._callables.setdefault(
                key, _Callable(self._session, find_signature(self.signatures, signature), computed)
            )
            answers = call(inputs)
            return {alias: answers[alias] for alias in outputs or answers}
        except Exception as error:
            raise _as_serving_error(error) from error


def find_signature(signatures: Mapping[str, Any], key: str) -> Any:
    """Return a signature by its key.

    Raises:
        ServingError: ``FAILED_PRECONDITION``: the model does not have it.
    """
    if key not in signatures:
        raise ServingError(Code.FAILED_PRECONDITION, f'Serving signature key "{key}" not found.')
    return signatures[key]


class _Callable:
    """A signature with a set of outputs, prepared once.

    ``Session.make_callable`` with feeds uses ``Session.run``, which is three times slower for a
    small model and refuses shapes that the graph, and hence TensorFlow Serving, accepts.
    """

    def __init__(self, session: Any, signature: Any, outputs: tuple[str, ...]) -> None:
        self._inputs = sorted(signature.inputs)
        self._outputs = list(outputs) or sorted(signature.outputs)
        names = [signature.outputs[alias].name for alias in self._outputs]
        self._fetches = sorted(set(names))
        self._positions = [self._fetches.index(name) for name in names]
        callable_options = config_pb2.CallableOptions(
            feed=[signature.inputs[alias].name for alias in self._inputs], fetch=self._fetches
        )
        self._call = session._make_callable_from_options(callable_options)

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        results = self._call(*[inputs[alias] for alias in self._inputs])
        return {
            alias: _as_array(results[position])
            for alias, position in zip(self._outputs, self._positions, strict=True)
        }


def _check_graphs(directory: str) -> None:
    for meta_graph in loader_impl.parse_saved_model(directory).meta_graphs:
        if set(meta_graph.meta_info_def.tags) == set(TAGS):
            graph_safety.check(meta_graph)


def _as_array(value: Any) -> np.ndarray:
    # A string scalar is bytes, whose trailing zeros only the type object preserves.
    return np.asarray(value, object if isinstance(value, bytes) else None)


def _as_serving_error(error: Exception) -> ServingError:
    if isinstance(error, ServingError):
        return error
    if isinstance(error, tf.errors.OpError):
        return ServingError(Code(error.error_code), error.message)
    if isinstance(error, ValueError | TypeError):
        return ServingError(Code.INVALID_ARGUMENT, str(error))
    if isinstance(error, OSError):
        return ServingError(Code.NOT_FOUND, str(error))
    return ServingError(Code.INTERNAL, f"{type(error).__name__}: {error}")


def graph_fingerprint(meta_graph: Any) -> str:
    """Return a digest of a graph's computation, without its weights and constants.

    Names are excluded, because TensorFlow numbers functions by what else the exporting process has
    traced.

    Args:
        meta_graph: ``MetaGraphDef`` of a SavedModel.

    Returns:
        64 hex digits, computed from the keys of the signatures and the number of operations of each
        kind, type and variable shape.
    """
    graph = meta_graph.graph_def
    nodes = list(graph.node)
    for function in graph.library.function:
        nodes.extend(function.node_def)
    operations = Counter(_operation(node) for node in nodes)
    counted = [sorted(meta_graph.signature_def), sorted(operations.items())]
    return hashlib.sha256(json.dumps(counted).encode()).hexdigest()


def _operation(node: Any) -> str:
    shape = node.attr["shape"].shape.dim if node.op == "VarHandleOp" else ()
    sizes = ",".join(str(dimension.size) for dimension in shape)
    # Most operations have their type in one of these attributes.
    types = [node.attr[key].type for key in ("T", "dtype", "SrcT", "DstT") if key in node.attr]
    return f"{node.op} {types} [{sizes}]"
