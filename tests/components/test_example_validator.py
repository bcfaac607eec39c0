"""The validator on TFX's own executor: the anomalies that stop a run, and those recorded."""

import json
import os
from pathlib import Path

import pytest
import tensorflow_data_validation as tfdv
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2
from tfx import types
from tfx.types import standard_artifacts

from components.example_validator import (
    BlockingExecutor,
    describe_anomalies,
    make_example_validator,
)
from modules.contract.errors import DataError

SCHEMA = text_format.Parse(
    """
    feature { name: "text" type: BYTES presence { min_fraction: 1.0 min_count: 1 } }
    feature { name: "label" type: BYTES domain: "label" presence { min_fraction: 1.0 } }
    string_domain { name: "label" value: "neg" value: "pos" }
    """,
    schema_pb2.Schema(),
)


def statistics(labels: dict[str, int]) -> statistics_pb2.DatasetFeatureStatisticsList:
    """Return the statistics of a split with these labels and counts."""
    found = statistics_pb2.DatasetFeatureStatisticsList()
    count = sum(labels.values())
    dataset = found.datasets.add(num_examples=count)
    for name in ("text", "label"):
        feature = dataset.features.add(name=name, type=statistics_pb2.FeatureNameStatistics.STRING)
        feature.string_stats.common_stats.num_non_missing = count
        feature.string_stats.common_stats.min_num_values = 1
        feature.string_stats.common_stats.max_num_values = 1
        feature.string_stats.unique = len(labels)
        if name == "label":
            for rank, (label, times) in enumerate(labels.items()):
                bucket = feature.string_stats.rank_histogram.buckets.add(label=label)
                bucket.low_rank = bucket.high_rank = rank
                bucket.sample_count = times
    return found


class Validation:
    """One execution, and its output."""

    def __init__(self, folder: Path, splits: dict[str, dict[str, int]]) -> None:
        self._statistics = standard_artifacts.ExampleStatistics()
        self._statistics.uri = str(folder / "statistics")
        self._statistics.split_names = json.dumps(list(splits))
        for split, labels in splits.items():
            path = Path(self._statistics.uri, f"Split-{split}", "FeatureStats.pb")
            path.parent.mkdir(parents=True)
            path.write_bytes(statistics(labels).SerializeToString())
        self._schema = standard_artifacts.Schema()
        self._schema.uri = str(folder / "schema")
        os.makedirs(self._schema.uri)
        tfdv.write_schema_text(SCHEMA, os.path.join(self._schema.uri, "schema.pbtxt"))
        self.anomalies = standard_artifacts.ExampleAnomalies()
        self.anomalies.uri = str(folder / "anomalies")

    def run(self, severity: str) -> None:
        node = make_example_validator(
            statistics=types.Channel(type=standard_artifacts.ExampleStatistics),
            schema=types.Channel(type=standard_artifacts.Schema),
            blocking_severity=severity,
        )
        BlockingExecutor().Do(
            {"statistics": [self._statistics], "schema": [self._schema]},
            {"anomalies": [self.anomalies]},
            dict(node.exec_properties),
        )

    def recorded(self, split: str) -> anomalies_pb2.Anomalies:
        path = Path(self.anomalies.uri, f"Split-{split}", "SchemaDiff.pb")
        return anomalies_pb2.Anomalies.FromString(path.read_bytes())


SOUND = {"neg": 5, "pos": 5}
FOREIGN = {"neg": 5, "pos": 5, "unsure": 2}


def test_data_that_conforms_to_the_schema_passes(tmp_path: Path) -> None:
    validation = Validation(tmp_path, {"train": SOUND, "eval": SOUND})
    validation.run("warning")
    assert not validation.recorded("train").anomaly_info


def test_error_stops_the_run_and_names_split_and_column(tmp_path: Path) -> None:
    validation = Validation(tmp_path, {"train": SOUND, "eval": FOREIGN})
    with pytest.raises(DataError, match=r"1 data anomal.*eval split, column 'label'.*unsure"):
        validation.run("error")
    assert set(validation.recorded("eval").anomaly_info) == {"label"}, "must be recorded, too"


def test_severity_none_never_stops_the_run(tmp_path: Path) -> None:
    validation = Validation(tmp_path, {"train": FOREIGN})
    validation.run("none")
    assert set(validation.recorded("train").anomaly_info) == {"label"}


@pytest.mark.parametrize(
    ("severity", "described"),
    [("error", ["a"]), ("warning", ["a", "b", "dataset"]), ("none", [])],
)
def test_severity_decides_which_anomalies_are_described(
    severity: str, described: list[str]
) -> None:
    anomalies = anomalies_pb2.Anomalies()
    kinds = anomalies_pb2.AnomalyInfo
    anomalies.anomaly_info["b"].severity = kinds.WARNING
    anomalies.anomaly_info["a"].severity = kinds.ERROR
    anomalies.dataset_anomaly_info.severity = kinds.WARNING
    lines = describe_anomalies(anomalies, severity)
    assert [line.split(":")[0].removeprefix("column ").strip("'") for line in lines] == described
