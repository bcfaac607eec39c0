"""Refusal of graphs that read or write files or run Python. Only for the worker process.

A graph is a program. The operations below are unusual in a model that is served, but let the author
of the SavedModel read and change the files of the server. A model card does not exempt a model,
because anyone can write one.
"""

from collections.abc import Iterable
from typing import Any

from serving.protocol.errors import Code, ServingError

#: Operations that restore variables. They may only run as part of the restore operation.
RESTORE = frozenset(
    {"Restore", "RestoreSlice", "RestoreV2", "DTensorRestoreV2", "LoadAndRemapMatrix"}
)
#: Operations that write checkpoints. The loader never runs them, and no signature may.
SAVE = frozenset({"Save", "SaveSlices", "SaveV2", "MergeV2Checkpoints"})
#: Operations that are refused wherever they are.
UNSAFE = frozenset(
    {
        *("PyFunc", "PyFuncStateless", "EagerPyFunc", "GeneratorDataset"),
        *("ReadFile", "WriteFile", "MatchingFiles", "MatchingFilesDataset"),
        *("ExperimentalMatchingFilesDataset", "RecordInput", "FileSystemSetConfiguration"),
        *("DatasetToTFRecord", "ExperimentalDatasetToTFRecord"),
        *("SnapshotChunkDataset", "ListSnapshotChunksDataset"),
        *("WholeFileReader", "WholeFileReaderV2", "TextLineReader", "TextLineReaderV2"),
        *("FixedLengthRecordReader", "FixedLengthRecordReaderV2"),
        *("TFRecordReader", "TFRecordReaderV2", "LMDBReader"),
        *("TextLineDataset", "TFRecordDataset", "TFRecordDatasetV2"),
        *("FixedLengthRecordDataset", "FixedLengthRecordDatasetV2"),
        *("CSVDataset", "CSVDatasetV2", "ExperimentalCSVDataset"),
        *("SqlDataset", "ExperimentalSqlDataset", "LMDBDataset", "ExperimentalLMDBDataset"),
        *("CacheDataset", "CacheDatasetV2", "SaveDataset", "SaveDatasetV2"),
        *("LoadDataset", "SnapshotDataset", "SnapshotDatasetV2", "SnapshotDatasetReader"),
        *("SnapshotNestedDatasetReader", "DistributedSave", "DatasetFromGraph"),
        *("DataServiceDataset", "DataServiceDatasetV2", "DataServiceDatasetV3"),
        *("DataServiceDatasetV4", "RegisterDataset", "RegisterDatasetV2"),
        *("CreateSummaryFileWriter", "CreateSummaryDbWriter", "SummaryWriter", "ImportEvent"),
        *("DebugIdentity", "DebugIdentityV2", "DebugIdentityV3", "DebugNanCount"),
        *("DebugNumericSummary", "DebugNumericSummaryV2"),
        *("GenerateVocabRemapping", "RemoteCall", "TRTEngineOp", "DumpTensor"),
        *("RpcServer", "RpcServerStart", "RpcServerRegister", "RpcClient", "RpcCall"),
    }
)
_FILE_URL = b"file:"
_INIT_COLLECTIONS = ("saved_model_main_op", "legacy_init_op")


def check(meta_graph: Any) -> None:
    """Refuse a graph with an unsafe operation.

    Args:
        meta_graph: ``MetaGraphDef`` of a SavedModel.

    Raises:
        ServingError: ``PERMISSION_DENIED``: the graph may read or write files or run Python.
    """
    graph = meta_graph.graph_def
    functions = {function.signature.name: function for function in graph.library.function}
    everything = [*graph.node, *(n for f in functions.values() for n in f.node_def)]
    found = {node.op for node in everything if node.op in UNSAFE or _prints_to_file(node)}
    nodes = {node.name: node for node in graph.node}
    called = _operations(_roots(meta_graph), nodes, functions)
    restored = _operations([meta_graph.saver_def.restore_op_name], nodes, functions)
    found |= called & (SAVE | RESTORE) | restored & SAVE
    if found:
        raise ServingError(
            Code.PERMISSION_DENIED,
            f"the graph reads or writes files, or runs Python ({', '.join(sorted(found))}); if you "
            "trust its author, start the server with --allow_unsafe_ops=true",
        )


def _prints_to_file(node: Any) -> bool:
    return node.op == "PrintV2" and node.attr["output_stream"].s.startswith(_FILE_URL)


def _roots(meta_graph: Any) -> list[str]:
    """Return the names of all tensors and operations that loading or a call runs."""
    roots = [
        tensor.name
        for signature in meta_graph.signature_def.values()
        for tensor in (*signature.outputs.values(), *signature.inputs.values())
    ]
    for key in _INIT_COLLECTIONS:
        if key in meta_graph.collection_def:
            roots.extend(meta_graph.collection_def[key].node_list.value)
    return roots


def _operations(roots: Iterable[str], nodes: Any, functions: Any) -> set[str]:
    """Return the operations that the roots depend on, including those of called functions."""
    waiting = [_node_name(root) for root in roots]
    reached: set[str] = set()
    called: set[str] = set()
    operations: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in reached or name not in nodes:
            continue
        reached.add(name)
        waiting.extend(_node_name(each) for each in nodes[name].input)
        operations.add(nodes[name].op)
        _add_called(nodes[name], functions, called)
    done: set[str] = set()
    while pending := called - done:
        name = pending.pop()
        done.add(name)
        for node in functions[name].node_def:
            operations.add(node.op)
            _add_called(node, functions, called)
    return operations


def _node_name(tensor: str) -> str:
    return tensor.removeprefix("^").partition(":")[0]


def _add_called(node: Any, functions: Any, called: set[str]) -> None:
    names = [node.op]
    for value in node.attr.values():
        names.append(value.func.name)
        names.extend(function.name for function in value.list.func)
    called.update(name for name in names if name in functions)
