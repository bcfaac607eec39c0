"""Output of ``bert trace``."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.text import Text
from rich.tree import Tree

from cli.terminal import local_time, print_json, stdout

if TYPE_CHECKING:
    from runners.lineage.trace import Trace
    from runners.lineage.version_origin import Origin, RunReference
    from serving.records.tables import PredictionRow

_DIGEST = 12


def print_trace(trace: "Trace", *, show_text: bool, as_json: bool) -> None:
    """Print a trace as a tree or as one JSON object.

    Args:
        trace: trace to print.
        show_text: also print the texts.
        as_json: print one JSON object, with full digests.
    """
    if as_json:
        print_json(trace.as_json(show_text=show_text))
        return
    root = Tree(f"request {trace.request_id}")
    for prediction in trace.predictions:
        _add_prediction(root, prediction, show_text=show_text)
    if trace.count > len(trace.predictions):
        root.add(f"and {trace.count - len(trace.predictions)} more texts")
    for origin in trace.origins:
        _add_origin(root, origin)
    _add_missing(root, trace.missing)
    stdout().print(root)


def _add_prediction(root: Tree, prediction: "PredictionRow", *, show_text: bool) -> None:
    answer = prediction.status
    if prediction.label is not None:
        answer = f"{prediction.label} ({prediction.score:.3f})"
    version = "no version"
    if prediction.model_version is not None:
        version = f"version {prediction.model_version}, {prediction.role}"
    created = local_time(prediction.created)
    branch = root.add(Text(f"prediction {prediction.id}: {answer}, by {version}, {created}"))
    if show_text and prediction.text is not None:
        branch.add(Text(f"text: {prediction.text}"))


def _add_origin(root: Tree, origin: "Origin") -> None:
    branch = root.add(f"version {origin.version}")
    if origin.source:
        branch.add(Text(f"model: {origin.source}"))
    if origin.trained:
        branch.add(f"trained by run {_run(origin.trained)}")
    if origin.pushed and origin.pushed != origin.trained:
        branch.add(f"pushed by run {_run(origin.pushed)}, which reused the cached model")
    if origin.evaluation:
        verdict = {True: "passed", False: "rejected", None: "no verdict"}
        evaluation = branch.add(f"evaluation: {verdict[origin.evaluation.blessed]}")
        for sentence in origin.evaluation.sentences:
            evaluation.add(Text(sentence))
    _add_data(branch, origin)
    if origin.code:
        code = branch.add("code digests")
        for name, digest in origin.code.items():
            code.add(f"{name}: {digest[:_DIGEST]}")
    _add_missing(branch, origin.missing)


def _add_data(branch: Tree, origin: "Origin") -> None:
    data = origin.data
    if data is None:
        return
    size = "" if data.examples is None else f" {data.examples} examples,"
    node = branch.add(f"data:{size} fingerprint {data.fingerprint[:_DIGEST] or 'unknown'}")
    for path in data.paths:
        node.add(Text(path))
    spans = ", ".join(f"span-{number}" for number in data.feedback_spans) or "none"
    counts = ", ".join(f"{count} {name}" for name, count in data.feedback.items())
    node.add(f"feedback spans: {spans}{f' ({counts})' if counts else ''}")


def _add_missing(branch: Tree, missing: Sequence[str]) -> None:
    for reason in missing:
        branch.add(Text(f"missing: {reason}", "yellow"))


def _run(run: "RunReference") -> str:
    return f"{run.run_id}, {local_time(run.started)}"
