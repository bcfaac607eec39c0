"""Origin of a pushed version: its manifest, its runs, their data and code."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from modules.contract import pushed_model
from modules.contract.errors import UserError
from pipeline.config import Config
from runners.lineage.evaluation import read_evaluation, read_push
from runners.lineage.records import NodeRun, Run
from runners.lineage.runs import read_runs

_NODES = ("ExampleGen", "Trainer", "Evaluator", "Pusher")
_FROM_CARD = ("encoder", "train_examples", "eval_examples", "data_fingerprint", "code_digest")


@dataclasses.dataclass(frozen=True)
class RunReference:
    """Reference to a run.

    Attributes:
        run_id: the run's id.
        started: when it started, seconds since 1970.
    """

    run_id: str
    started: float


@dataclasses.dataclass(frozen=True)
class TrainingData:
    """Data that a version was trained on.

    Attributes:
        uri: URI of the ``Examples``.
        examples: number of examples in all splits.
        fingerprint: fingerprint of the content of all files.
        paths: paths of the base data.
        feedback_spans: numbers of the feedback spans that were read in addition.
        feedback: outcome, such as "added" or "relabelled" -> number of feedback rows.
    """

    uri: str
    examples: int | None
    fingerprint: str
    paths: list[str]
    feedback_spans: list[int]
    feedback: dict[str, int]


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Evaluation of a version before its push.

    Attributes:
        blessed: whether the Evaluator blessed it.
        metric: name of the deciding metric.
        value: value of that metric on the test split.
        sentences: the decision in words.
    """

    blessed: bool | None
    metric: str
    value: float | None
    sentences: list[str]


@dataclasses.dataclass(frozen=True)
class Origin:
    """Origin of one version.

    Attributes:
        version: version number.
        folder: folder of the version; "" if it does not exist.
        source: URI of the ``Model`` artifact.
        model: encoder, sizes and fingerprints, from the model card.
        trained: the run that trained it.
        pushed: the run that pushed it; a later run if that took the model from the cache.
        data: the data that it was trained on.
        evaluation: the evaluation before its push.
        code: component name -> digest of its code.
        missing: what is unknown, and why.
    """

    version: int
    folder: str = ""
    source: str = ""
    model: dict[str, Any] = dataclasses.field(default_factory=dict)
    trained: RunReference | None = None
    pushed: RunReference | None = None
    data: TrainingData | None = None
    evaluation: Evaluation | None = None
    code: dict[str, str] = dataclasses.field(default_factory=dict)
    missing: list[str] = dataclasses.field(default_factory=list)


class VersionOrigins:
    """Origins of pushed versions.

    Args:
        config: gives the push directory and the metadata of the runs.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._runs: list[Run] | None = None

    def read(self, version: int) -> Origin:
        """Read the origin of a version; ``missing`` says what is unknown."""
        folder = pushed_model.version_folder(self._config.push_directory(), version)
        missing: list[str] = []
        source, card = "", {}
        if folder.is_dir():
            source = _read_source(folder, missing)
            card = _read_card(folder, missing)
        else:
            missing.append(
                f"the version's folder: {folder} does not exist, or pusher.base_directory has "
                "changed; the run is looked up by what the Pusher recorded"
            )
        origin = Origin(
            version,
            folder=str(folder) if folder.is_dir() else "",
            source=source,
            model=card,
            code={"Trainer": str(card["code_digest"])} if card.get("code_digest") else {},
            missing=missing,
        )
        return self._with_runs(origin)

    def _with_runs(self, origin: Origin) -> Origin:
        """Add the runs from the metadata."""
        try:
            if self._runs is None:
                self._runs = read_runs(self._config, with_outputs=_NODES)
        except UserError as error:
            return _without(origin, f"the training run: {error}")
        pushed = _pushing_run(self._runs, origin)
        source = origin.source or _model_uri(pushed)
        trained = _training_run(self._runs, source)
        if trained is None:
            return _without(
                dataclasses.replace(origin, source=source),
                f"the training run: no run of pipeline {self._config.pipeline.name!r} under "
                f"{self._config.pipeline_root()} made {source or 'this version'}",
            )
        return _describe(dataclasses.replace(origin, source=source), trained, pushed)


def _describe(origin: Origin, trained: Run, pushed: Run | None) -> Origin:
    missing = list(origin.missing)
    data = _data(trained, missing)
    evaluation = _evaluation(pushed or trained, missing)
    if pushed is None:
        missing.append("the push: no run recorded it; the folder may have been copied here")
    digests = {node.name: digest for node in trained.nodes if (digest := _code_digest(node))}
    return dataclasses.replace(
        origin,
        trained=RunReference(trained.run_id, trained.started),
        pushed=RunReference(pushed.run_id, pushed.started) if pushed else None,
        data=data,
        evaluation=evaluation,
        code=origin.code | digests,
        missing=missing,
    )


def _without(origin: Origin, reason: str) -> Origin:
    return dataclasses.replace(origin, missing=[*origin.missing, reason])


def _read_source(folder: Path, missing: list[str]) -> str:
    try:
        return pushed_model.read_manifest(folder).source
    except (OSError, ValueError):
        path = folder / pushed_model.MANIFEST_FILE
        missing.append(f"the manifest: {path} does not exist or cannot be read")
        return ""


def _read_card(folder: Path, missing: list[str]) -> dict[str, Any]:
    try:
        card = pushed_model.read_model_card(folder)
        return {name: card[name] for name in _FROM_CARD if name in card}
    except (OSError, ValueError):
        path = folder / pushed_model.MODEL_CARD_FILE
        missing.append(f"the model card: {path} does not exist or cannot be read")
        return {}


def _training_run(runs: list[Run], source: str) -> Run | None:
    """Return the run whose Trainer made the model, not one that took it from the cache."""
    matching = [run for run in runs if source and _model_uri(run) == source]
    trained = [run for run in matching if (node := run.node("Trainer")) and node.state == "ran"]
    return next(reversed(trained or matching), None)


def _pushing_run(runs: list[Run], origin: Origin) -> Run | None:
    """Return the run whose Pusher pushed the version, not one that took it from the cache."""
    for run in reversed(runs):
        push = read_push(run)
        if push is None or not push.pushed or push.version != str(origin.version):
            continue
        if not origin.source or _model_uri(run) in ("", origin.source):
            return run
    return None


def _model_uri(run: Run | None) -> str:
    model = run.artifact("Trainer", "Model") if run else None
    return model.uri if model else ""


def _data(run: Run, missing: list[str]) -> TrainingData | None:
    node, artifact = run.node("ExampleGen"), run.artifact("ExampleGen", "Examples")
    if node is None or artifact is None:
        missing.append(f"the data: run {run.run_id} has no record of its examples")
        return None
    spans = artifact.properties.get("feedback_spans") or node.parameters.get("feedback_spans")
    fingerprint = artifact.properties.get("input_fingerprint") or node.parameters.get(
        "input_fingerprint", ""
    )
    examples = artifact.properties.get("examples")
    return TrainingData(
        uri=artifact.uri,
        examples=None if examples is None else int(examples),
        fingerprint=str(fingerprint),
        paths=[str(path) for path in _json_list(node.parameters.get("paths"))],
        feedback_spans=[int(span) for span in _json_list(spans)],
        feedback=_counts(artifact.properties.get("feedback_counts")),
    )


def _evaluation(run: Run, missing: list[str]) -> Evaluation | None:
    record = read_evaluation(run)
    if record is None or not record.decision:
        missing.append(f"the evaluation: run {run.run_id} has none, or its folder no longer exists")
        return None
    return Evaluation(record.blessed, record.metric, record.candidate, record.sentences)


def _code_digest(node: NodeRun) -> str:
    """Return the digest: a parameter of our components, part of a JSON parameter of TFX's."""
    if digest := node.parameters.get("code_digest"):
        return str(digest)
    try:
        custom = json.loads(node.parameters.get("custom_config") or "{}")
        values = [custom, *(json.loads(each) for each in custom.values() if isinstance(each, str))]
    except (TypeError, ValueError, AttributeError):
        return ""
    found = (
        each["code_digest"] for each in values if isinstance(each, dict) and "code_digest" in each
    )
    return str(next(found, ""))


def _counts(text: Any) -> dict[str, int]:
    """Parse counts; empty if an older run stored none."""
    try:
        return {str(name): int(count) for name, count in json.loads(text).items() if count}
    except (TypeError, ValueError, AttributeError):
        return {}


def _json_list(text: Any) -> list[Any]:
    try:
        found = json.loads(text or "[]")
    except (TypeError, ValueError):
        return []
    return found if isinstance(found, list) else []
