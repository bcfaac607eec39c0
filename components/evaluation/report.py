"""Files of the Evaluator: the decision, the metrics and the predictions."""

import gzip
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from tfx.dsl.io import fileio

from components.evaluation.bootstrap import Interval
from components.evaluation.decision import Decision, format_value
from components.evaluation.metrics import ScoredExamples, confusion_matrix
from components.evaluation.slices import MetricsTable

DECISION_JSON = "decision.json"
DECISION_TEXT = "decision.md"
METRICS_JSON = "metrics.json"
PREDICTIONS = "predictions.jsonl.gz"

#: Number of floors that the text lists; decision.json has all of them.
_MAX_ROWS = 50


def write_decision(directory: str, decision: Decision, models: Mapping[str, Any]) -> None:
    """Write ``decision.json`` and ``decision.md``.

    Args:
        directory: URI of the ``ModelEvaluation`` artifact.
        decision: the decision.
        models: ids of candidate, baseline and test split, added to the JSON.
    """
    record = {**decision.to_dict(), **models, "sentences": sentences(decision)}
    _write(directory, DECISION_JSON, json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    _write(directory, DECISION_TEXT, describe(decision))


def write_metrics(
    directory: str,
    table: MetricsTable,
    labels: Sequence[str],
    answers: Mapping[str, ScoredExamples],
) -> None:
    """Write ``metrics.json``: labels, metrics of each model and slice, confusion matrices.

    Args:
        directory: URI of the ``ModelEvaluation`` artifact.
        table: TFMA's metrics of each model and slice.
        labels: label of each class index.
        answers: model name -> answers, for the confusion matrices.
    """
    models = {
        model: {
            "slices": {
                name: {
                    "examples": metrics.examples,
                    **metrics.values,
                    "classes": {
                        label: values
                        for label, values in metrics.classes.items()
                        if any(value is not None for value in values.values())
                    },
                }
                for name, metrics in by_slice.items()
            },
            # Rows are true labels, columns predicted labels; the last column is "no answer".
            "confusion_matrix": confusion_matrix(answers[model]).tolist(),
        }
        for model, by_slice in table.items()
    }
    record = {"labels": list(labels), "models": models}
    _write(directory, METRICS_JSON, json.dumps(record, indent=1, ensure_ascii=False) + "\n")


def write_predictions(
    directory: str,
    text_digests: Sequence[str],
    true: Sequence[str],
    labels: Sequence[str],
    answers: Mapping[str, ScoredExamples],
) -> None:
    """Write ``predictions.jsonl.gz``: the labels, then one line per example, without raw text.

    Args:
        directory: URI of the ``ModelEvaluation`` artifact.
        text_digests: SHA-256 of each text.
        true: true label of each example.
        labels: label of each class index.
        answers: model name -> answers.
    """
    lines = [json.dumps({"labels": list(labels)}, ensure_ascii=False)]
    scores = {name: answer.scores.astype(float).round(6) for name, answer in answers.items()}
    for index, digest in enumerate(text_digests):
        record: dict[str, Any] = {"text_sha256": digest, "label": true[index]}
        record |= {name: values[index].tolist() for name, values in scores.items()}
        lines.append(json.dumps(record, ensure_ascii=False))
    # No time in the header, so that equal predictions give equal bytes.
    packed = gzip.compress("\n".join(lines).encode() + b"\n", mtime=0)
    with fileio.open(os.path.join(directory, PREDICTIONS), "wb") as file:
        file.write(packed)


def sentences(decision: Decision) -> list[str]:
    """Return the decision in words: what was compared, the intervals and the reasons."""
    share = f"{decision.settings.confidence:.0%}"
    lines = [
        f"On {decision.examples} test examples, the candidate's {decision.metric} is "
        f"{format_value(decision.candidate)} ({share} interval "
        f"{_format_interval(decision.candidate_interval)})."
    ]
    if decision.baseline is None:
        lines.append("There is no baseline, because no model has been pushed: only floors decide.")
    elif decision.difference is not None and decision.difference_interval is not None:
        resamples = decision.settings.bootstrap_samples
        lines.append(
            "On the same examples, the baseline (the last pushed model) reaches "
            f"{format_value(decision.baseline)}: the difference is {decision.difference:+.4f} "
            f"({share} paired bootstrap interval "
            f"{_format_interval(decision.difference_interval, signed=True)}; the candidate is "
            f"better in {decision.better_share:.0%} of {resamples} resamples)."
        )
    judged = [floor for floor in decision.floors if floor.passed is not None]
    kept = sum(1 for floor in judged if floor.passed)
    lines.append(f"Floors met: {kept} of {len(judged)}.")
    small = len(decision.floors) - len(judged)
    if small:
        lines.append(
            f"Floors not judged, on fewer than {decision.settings.min_slice_examples} examples: "
            f"{small}."
        )
    lines.extend(f"Note: {note}." for note in decision.notes)
    if decision.blessed:
        lines.append("The candidate is blessed.")
    else:
        lines.append(f"The candidate is rejected: {'; '.join(decision.reasons)}.")
    return lines


def describe(decision: Decision) -> str:
    """Return the decision as Markdown: the sentences, then a table of the floors."""
    lines = [f"# {'Blessed' if decision.blessed else 'Rejected'}", ""]
    lines.extend(f"- {sentence}" for sentence in sentences(decision))
    lines.extend(["", "| floor | examples | value | met |", "| --- | ---: | ---: | --- |"])
    verdicts = {True: "yes", False: "**no**", None: "not judged"}
    for floor in decision.floors[:_MAX_ROWS]:
        value = format_value(floor.value)
        lines.append(f"| {floor.floor} | {floor.examples} | {value} | {verdicts[floor.passed]} |")
    if len(decision.floors) > _MAX_ROWS:
        lines.append(
            f"| ... and {len(decision.floors) - _MAX_ROWS} more in {DECISION_JSON} | | | |"
        )
    return "\n".join(lines) + "\n"


def _format_interval(interval: Interval, signed: bool = False) -> str:
    kind = "+.4f" if signed else ".4f"
    return f"{interval.low:{kind}} to {interval.high:{kind}}"


def _write(directory: str, name: str, text: str) -> None:
    with fileio.open(os.path.join(directory, name), "w") as file:
        file.write(text)
