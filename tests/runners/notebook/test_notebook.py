"""The notebook, executed headless, and its views on small inputs."""

import base64
import json
from pathlib import Path

import pandas
import pytest

from runners.lineage.records import EvaluationRecord
from tests.tiny_bert import write_tiny_bert

REPOSITORY = Path(__file__).parents[3]
NOTEBOOK = REPOSITORY / "notebooks" / "pipeline.ipynb"
PNG = b"\x89PNG"


def test_notebook_is_short_and_has_no_outputs() -> None:
    cells = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
    assert len(cells) <= 12
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell["outputs"] for cell in code] == [[]] * len(code)
    assert [cell["execution_count"] for cell in code] == [None] * len(code)


def test_slices_are_shown_as_a_table_and_a_figure() -> None:
    from runners.notebook.notebook import views

    slices = {"": {"examples": 30, "accuracy": 0.9}, "domain=food": {"examples": 4, "accuracy": 1}}
    record = EvaluationRecord({"metric": "accuracy"}, {"models": {"candidate": {"slices": slices}}})
    table = views.slices_table(record)
    assert table["slice"].tolist() == ["all", "domain=food"]
    assert table["candidate"].tolist() == [0.9, 1]
    [axes] = views.slices_figure(record).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["all (30)", "domain=food (4)"]
    assert [bar.get_width() for bar in axes.patches] == [0.9, 1]


def test_training_curves_have_a_point_per_epoch() -> None:
    from runners.notebook.notebook import views

    columns = ["train loss", "train accuracy", "eval loss", "eval accuracy"]
    table = pandas.DataFrame([[0.7, 0.5, 0.6, 0.6], [0.4, 0.8, 0.5, 0.7]], [1, 2], columns)
    loss, accuracy = views.training_figure(table).axes
    assert [list(line.get_ydata()) for line in loss.lines] == [[0.7, 0.4], [0.6, 0.5]]
    assert [list(line.get_ydata()) for line in accuracy.lines] == [[0.5, 0.8], [0.6, 0.7]]


def test_run_without_tensorboard_has_no_curves(tmp_path: Path) -> None:
    from runners.notebook.notebook import views

    assert views.training_table(tmp_path).empty


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory):
    """Execute the notebook on 200 rows with the tiny encoder; return it and its folder."""
    nbformat = pytest.importorskip("nbformat", reason="the dev tools are not installed")
    nbclient = pytest.importorskip("nbclient", reason="the dev tools are not installed")
    folder = tmp_path_factory.mktemp("notebook")
    write_tiny_bert(folder / "encoder")
    sample = (REPOSITORY / "data" / "sample" / "reviews.csv").read_text("utf-8")
    (folder / "reviews.csv").write_text("".join(sample.splitlines(keepends=True)[:201]), "utf-8")
    settings = {
        "BERT_NOTEBOOK_DIRECTORY": str(folder),
        "BERT__DATA__PATH": "reviews.csv",
        "BERT__DATA__SLICE_COLUMNS": '["domain"]',
        "BERT__PUSHER__BASE_DIRECTORY": "models",
        "BERT__TRAINER__ENCODER": "encoder",
        "BERT__TRAINER__MAX_LENGTH": "32",
        "BERT__TRAINER__EPOCHS": "2",
        "BERT__EVALUATOR__FLOORS": '[{metric = "accuracy", min = 0.0}]',
        "PYTHONPATH": str(REPOSITORY),
    }
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    with pytest.MonkeyPatch.context() as environment:
        for name, value in settings.items():
            environment.setenv(name, value)
        resources = {"metadata": {"path": str(NOTEBOOK.parent)}}
        nbclient.NotebookClient(notebook, timeout=600, resources=resources).execute()
    return notebook, folder


def _outputs(notebook, source: str) -> list:
    [cell] = [c for c in notebook.cells if c.cell_type == "code" and source in c.source]
    return cell.outputs


def _text(outputs: list) -> str:
    return "\n".join(o.get("text", "") or o.get("data", {}).get("text/plain", "") for o in outputs)


@pytest.mark.slow
def test_each_cell_shows_its_result(executed) -> None:
    notebook, _ = executed
    statistics = _text(_outputs(notebook, "show_statistics"))
    assert "ExampleValidator" in statistics
    assert all(split in statistics for split in ("train", "eval", "test"))
    schema = _text(_outputs(notebook, "show_schema"))
    assert "negative, positive" in schema
    assert "No anomalies." in schema
    assert "eval accuracy" in _text(_outputs(notebook, "show_training"))
    evaluation = _text(_outputs(notebook, "show_evaluation"))
    assert "Pusher" in evaluation
    assert "domain=food" in evaluation
    assert "test examples, the candidate's accuracy is" in evaluation
    predictions = _text(_outputs(notebook, "show_predictions"))
    assert "answer" in predictions
    assert "?" not in {line.split()[1] for line in predictions.splitlines()[1:] if line.strip()}
    assert "A warm room and a good bed." in _text(_outputs(notebook, "classify"))


@pytest.mark.slow
@pytest.mark.parametrize("source", ["show_statistics", "show_training", "show_evaluation"])
def test_figures_are_embedded_in_the_notebook(executed, source: str) -> None:
    pictures = [
        base64.b64decode(output["data"]["image/png"])
        for output in _outputs(executed[0], source)
        if "image/png" in output.get("data", {})
    ]
    assert len(pictures) == 1
    assert pictures[0].startswith(PNG)


@pytest.mark.slow
def test_outputs_need_neither_network_nor_scripts(executed) -> None:
    for cell in executed[0].cells:
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            assert set(data) <= {"text/plain", "text/html", "image/png"}, set(data)
            html = data.get("text/html", "")
            assert not {"<script", "http://", "https://", "<iframe"} & set(html.lower().split())
            assert output.output_type != "error"


@pytest.mark.slow
def test_notebook_pushes_the_model(executed) -> None:
    _, folder = executed
    [version] = [path for path in (folder / "models").iterdir() if path.name.isdigit()]
    assert (version / "saved_model.pb").is_file()
