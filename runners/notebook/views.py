"""Views of a run for notebooks: pandas tables and matplotlib figures, read from artifacts.

TFDV's Facets and TFMA's widgets load scripts from the network and do not render in JupyterLab 4.
"""

import gzip
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from runners.lineage.deployed_run import read_examples
from runners.lineage.records import EvaluationRecord

SPLITS = ("train", "eval", "test")
_CURVES = {"loss": "epoch_loss", "accuracy": "epoch_accuracy"}
_COLOURS = ("#3b6fb6", "#d1723a", "#4d9a5b")


def statistics_table(folder: Path) -> pandas.DataFrame:
    """Return one row for each feature of each split.

    Args:
        folder: folder of StatisticsGen's ``statistics``.
    """
    rows = []
    for split, found in _statistics(folder).items():
        for name, feature in sorted(found.items()):
            common = feature.string_stats.common_stats
            top = list(feature.string_stats.top_values)
            rows.append(
                {
                    "split": split,
                    "feature": name,
                    "examples": common.num_non_missing,
                    "missing": common.num_missing,
                    "distinct": feature.string_stats.unique,
                    "mean bytes": round(feature.string_stats.avg_length, 1),
                    "most frequent": _short(top[0].value) if top else "",
                    "times": int(top[0].frequency) if top else 0,
                }
            )
    return pandas.DataFrame(rows)


def label_figure(folder: Path, label: str) -> Figure:
    """Draw the share of each label in each split.

    Args:
        folder: folder of StatisticsGen's ``statistics``.
        label: name of the label feature.
    """
    splits = _statistics(folder)
    counts = {
        split: {top.value: top.frequency for top in found[label].string_stats.top_values}
        for split, found in splits.items()
    }
    names = sorted({name for found in counts.values() for name in found})
    shares = {
        split: [found.get(name, 0.0) / max(sum(found.values()), 1.0) for name in names]
        for split, found in counts.items()
    }
    return _bars(names, shares, "share of the split", "Labels")


def schema_table(folder: Path) -> pandas.DataFrame:
    """Return one row for each feature of the schema.

    Args:
        folder: folder of SchemaGen's ``schema``.
    """
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2

    schema = text_format.Parse((folder / "schema.pbtxt").read_text("utf-8"), schema_pb2.Schema())
    domains = {domain.name: list(domain.value) for domain in schema.string_domain}
    rows = [
        {
            "feature": feature.name,
            "type": schema_pb2.FeatureType.Name(feature.type),
            "present in at least": f"{feature.presence.min_fraction:.0%}",
            "values": ", ".join(domains.get(feature.domain, feature.string_domain.value)),
        }
        for feature in schema.feature
    ]
    return pandas.DataFrame(rows)


def anomalies_table(folder: Path) -> pandas.DataFrame:
    """Return one row for each anomaly; without any, an empty table with the same columns.

    Args:
        folder: folder of ExampleValidator's ``anomalies``.
    """
    from tensorflow_metadata.proto.v0 import anomalies_pb2

    rows = []
    for split, path in _by_split(folder, "SchemaDiff.pb").items():
        found = anomalies_pb2.Anomalies.FromString(path.read_bytes())
        for name, anomaly in sorted(found.anomaly_info.items()):
            severity = anomalies_pb2.AnomalyInfo.Severity.Name(anomaly.severity)
            rows.append([split, name, severity, anomaly.short_description, anomaly.description])
    return pandas.DataFrame(rows, columns=["split", "feature", "severity", "anomaly", "details"])


def training_table(folder: Path) -> pandas.DataFrame:
    """Return loss and accuracy on train and eval after each epoch; empty without TensorBoard logs.

    Args:
        folder: folder of the Trainer's ``model_run``.
    """
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorflow import make_ndarray

    columns: dict[str, dict[int, float]] = {}
    for part, name in (("train", "train"), ("validation", "eval")):
        logs = folder / "tensorboard" / part
        if not logs.is_dir():
            continue
        events = EventAccumulator(str(logs))
        events.Reload()
        for metric, tag in _CURVES.items():
            columns[f"{name} {metric}"] = {
                event.step + 1: float(make_ndarray(event.tensor_proto))
                for event in events.Tensors(tag)
            }
    table = pandas.DataFrame(columns)
    table.index.name = "epoch"
    return table


def training_figure(table: pandas.DataFrame) -> Figure:
    """Draw the columns of ``training_table`` over epochs, loss and accuracy side by side."""
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    for axes, metric in zip(figure.subplots(1, 2), _CURVES, strict=True):
        for split, colour in zip(("train", "eval"), _COLOURS, strict=False):
            values = table[f"{split} {metric}"]
            axes.plot(values.index, values, marker="o", color=colour, label=split)
        axes.set(title=metric, xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(frameon=False)
    return figure


def metrics_table(record: EvaluationRecord) -> pandas.DataFrame:
    """Return every metric of candidate and baseline on the whole test split."""
    return _metric_rows(record.overall(), "metric")


def slices_table(record: EvaluationRecord) -> pandas.DataFrame:
    """Return the deciding metric of candidate and baseline on every slice."""
    return _metric_rows(record.by_slice(), "slice")


def slices_figure(record: EvaluationRecord) -> Figure:
    """Draw the deciding metric of candidate and baseline by slice."""
    rows = [row for row in record.by_slice() if row.candidate is not None]
    names = [f"{row.slice or 'all'} ({row.examples})" for row in rows]
    values = {"candidate": [row.candidate or 0.0 for row in rows]}
    if any(row.baseline is not None for row in rows):
        values["baseline"] = [row.baseline or 0.0 for row in rows]
    return _bars(names, values, record.metric, f"{record.metric} by slice (test examples)")


def predictions_table(evaluation: Path, examples: Path, count: int = 10) -> pandas.DataFrame:
    """Return the candidate's most confident mistakes on the test split, then its successes.

    Args:
        evaluation: folder of the Evaluator's ``evaluation``, which holds digests of the texts.
        examples: folder of ExampleGen's ``examples``, which holds the texts.
        count: maximum number of rows.
    """
    with gzip.open(evaluation / "predictions.jsonl.gz", "rt", encoding="utf-8") as lines:
        header, *records = [json.loads(line) for line in lines]
    texts = _texts(examples / f"Split-{SPLITS[-1]}")
    rows = []
    for record in records:
        score = max(record["candidate"])
        answer = header["labels"][record["candidate"].index(score)]
        rows.append(
            {
                "text": _short(texts.get(record["text_sha256"], "?"), 90),
                "label": record["label"],
                "answer": answer,
                "score": round(score, 4),
                "right": answer == record["label"],
            }
        )
    table = pandas.DataFrame(rows, columns=["text", "label", "answer", "score", "right"])
    table = table.sort_values(["right", "score"], ascending=[True, False], kind="stable")
    return table.head(count).reset_index(drop=True)


def _texts(folder: Path) -> dict[str, str]:
    """Return digest -> text for each text of a split."""
    return {
        hashlib.sha256(text.encode()).hexdigest(): text for text, _ in read_examples(str(folder))
    }


def _metric_rows(rows: Any, by: str) -> pandas.DataFrame:
    return pandas.DataFrame(
        [
            {
                by: row.metric if by == "metric" else row.slice or "all",
                "examples": row.examples,
                "candidate": row.candidate,
                "baseline": row.baseline,
                "change": row.change,
            }
            for row in rows
        ]
    )


def _statistics(folder: Path) -> dict[str, dict[str, Any]]:
    """Return split -> feature name -> its FeatureNameStatistics."""
    from tensorflow_metadata.proto.v0 import statistics_pb2

    found = {}
    for split, path in _by_split(folder, "FeatureStats.pb").items():
        proto = statistics_pb2.DatasetFeatureStatisticsList.FromString(path.read_bytes())
        parts = proto.datasets[0].features
        found[split] = {(part.name or ".".join(part.path.step)): part for part in parts}
    return found


def _by_split(folder: Path, name: str) -> dict[str, Path]:
    paths = {split: folder / f"Split-{split}" / name for split in SPLITS}
    return {split: path for split, path in paths.items() if path.is_file()}


def _bars(names: list[str], values: Mapping[str, list[float]], unit: str, title: str) -> Figure:
    """Draw horizontal bars, one group for each name."""
    groups = len(values)
    figure = Figure(figsize=(8, 1.2 + 0.22 * len(names) * (groups + 1)), layout="constrained")
    axes = figure.subplots()
    thickness = 0.8 / groups
    for index, (group, numbers) in enumerate(values.items()):
        places = [row + thickness * (index - (groups - 1) / 2) for row in range(len(names))]
        axes.barh(places, numbers, thickness, color=_COLOURS[index % 3], label=group)
    axes.set(title=title, xlabel=unit, yticks=range(len(names)), yticklabels=names)
    axes.invert_yaxis()
    if groups > 1:
        axes.legend(frameon=False)
    return figure


def _short(text: str, length: int = 60) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
