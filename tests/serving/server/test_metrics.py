from pathlib import Path

import pytest

from modules.contract.errors import UserError
from serving.server import metrics, monitoring_config
from serving.server.monitoring_config import Monitoring


def test_counter_is_written_in_prometheus_format() -> None:
    counter = metrics.Counter("things", ["name", "kind"])
    counter.increment("a", 'x"\\\n')
    counter.increment("a", 'x"\\\n', by=2)
    assert list(counter.lines()) == [
        "# TYPE :tensorflow:serving:things counter",
        r':tensorflow:serving:things{name="a",kind="x\"\\\n"} 3',
    ]
    assert counter.value("a", 'x"\\\n') == counter.total() == 3


def test_histogram_is_written_in_prometheus_format() -> None:
    histogram = metrics.Histogram("took", ["name"], [1, 10])
    for value in (0.5, 1, 5, 100):
        histogram.observe(value, "a")
    assert list(histogram.lines()) == [
        "# TYPE :tensorflow:serving:took histogram",
        ':tensorflow:serving:took_bucket{name="a",le="1"} 2',
        ':tensorflow:serving:took_bucket{name="a",le="10"} 3',
        ':tensorflow:serving:took_bucket{name="a",le="+Inf"} 4',
        ':tensorflow:serving:took_sum{name="a"} 106.5',
        ':tensorflow:serving:took_count{name="a"} 4',
    ]


def test_number_of_label_sets_is_bounded() -> None:
    counter = metrics.Counter("things", ["name"])
    histogram = metrics.Histogram("took", ["name"], [1])
    for number in range(5000):
        counter.increment(f"model {number}")
        histogram.observe(1, f"model {number}")
    assert counter.total() == 5000
    assert counter.value("") == 4000
    assert histogram.count("") == 4000
    assert len(list(counter.lines())) < 1010


def test_long_label_values_are_not_kept() -> None:
    counter = metrics.Counter("things", ["name"])
    histogram = metrics.Histogram("took", ["name"], [1])
    for number in range(10):
        counter.increment("n" * 5000 + str(number))
        histogram.observe(1, "n" * 5000 + str(number))
    assert counter.value(metrics.OTHER) == histogram.count(metrics.OTHER) == 10


def test_page_includes_the_metrics_of_the_process() -> None:
    metrics.REQUEST_COUNT.increment("some model", "OK")
    page = metrics.page().decode()
    assert ':tensorflow:serving:request_count{model_name="some model",status="OK"}' in page
    assert "process_resident_memory_bytes" in page
    assert "_total{model_name" not in page


@pytest.mark.parametrize(
    ("text", "monitoring"),
    [
        ("prometheus_config { enable: true }", Monitoring()),
        ('prometheus_config { enable: true, path: "/m" }', Monitoring(True, "/m")),
        ('prometheus_config { path: "/m" }', Monitoring(False, "/m")),
        ("", Monitoring(False)),
    ],
)
def test_monitoring_config_is_read(tmp_path: Path, text: str, monitoring: Monitoring) -> None:
    file = tmp_path / "monitoring.config"
    file.write_text(text)
    assert monitoring_config.read(str(file)) == monitoring


def test_no_monitoring_config_serves_the_page() -> None:
    assert monitoring_config.read("") == Monitoring(True, "/monitoring/prometheus/metrics")


@pytest.mark.parametrize(
    "text",
    [
        "nope",
        "prometheus_config { enable: 7x }",
        "\x00",
        'prometheus_config { enable: true path: "m" }',
    ],
)
def test_invalid_monitoring_config_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "monitoring.config"
    file.write_text(text)
    with pytest.raises(UserError, match="monitoring_config_file"):
        monitoring_config.read(str(file))


def test_missing_monitoring_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        monitoring_config.read(str(tmp_path / "nope"))
