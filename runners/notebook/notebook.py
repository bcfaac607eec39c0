"""The pipeline in a notebook, node by node: the same components in TFX's InteractiveContext.

A cell calls ``run`` and then shows the results, as tables and pictures that any Jupyter renders
without the network.
"""

import contextlib
import io
import os
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas
from IPython import display as ipython
from IPython.utils.capture import capture_output
from matplotlib.figure import Figure

from modules.contract import features
from modules.contract.errors import UserError
from pipeline import config as pipeline_config
from pipeline.config import Config
from pipeline.nodes import check_node, node_names
from runners.lineage.evaluation import read_evaluation_folder
from runners.notebook import views

_REPOSITORY = Path(__file__).parents[2]


def load_config(*assignments: str, file: str | None = None) -> Config:
    """Load the config as ``bert`` does: defaults, ``file``, environment, ``assignments``.

    The working directory becomes the repository, so that relative paths do not depend on where
    Jupyter was started.

    Args:
        *assignments: ``section.key=value``.
        file: a TOML file's path, or a bundled config's name.

    Raises:
        UserError: an unknown key or a bad value.
    """
    os.chdir(os.environ.get("BERT_NOTEBOOK_DIRECTORY", _REPOSITORY))
    return pipeline_config.load(file, assignments)


class Notebook:
    """A pipeline whose components run one by one; results are cached as in any other run.

    Args:
        config: the resolved configuration.
    """

    def __init__(self, config: Config) -> None:
        with _quiet():
            from tfx.orchestration.experimental.interactive.interactive_context import (
                InteractiveContext,
            )

            from pipeline.graph import build_components
            from pipeline.metadata_store import connection_config

            self.config = config
            os.makedirs(config.pipeline_root(), exist_ok=True)
            self.components = build_components(config)
            self._context = InteractiveContext(
                pipeline_name=config.pipeline.name,
                pipeline_root=config.pipeline_root(),
                metadata_connection_config=connection_config(config.metadata_url()),
                beam_pipeline_args=config.beam_arguments(),
            )
        self._done: set[str] = set()

    def run(self, to: str) -> None:
        """Run every node up to ``to`` that has not run yet, and print how long each took.

        Args:
            to: id of the last node, such as "Trainer".

        Raises:
            UserError: the node does not exist, or a node failed with an error that you can fix.
        """
        check_node("to", to, self.config)
        names = node_names(self.config)
        wanted = set(names[: names.index(to) + 1]) - self._done
        for node in self.components:
            if node.id in wanted:
                started = time.monotonic()
                with _quiet():
                    self._context.run(node, enable_cache=self.config.pipeline.cache)
                self._done.add(node.id)
                print(f"{node.id:<17}{time.monotonic() - started:7.1f} s", flush=True)

    def show_statistics(self) -> None:
        """Show the statistics of each split, and the share of each label."""
        folder = self.folder("StatisticsGen", "statistics")
        _show(views.statistics_table(folder), views.label_figure(folder, features.LABEL))

    def show_schema(self) -> None:
        """Show the schema and the anomalies in the data."""
        anomalies = views.anomalies_table(self.folder("ExampleValidator", "anomalies"))
        _show(views.schema_table(self.folder("SchemaGen", "schema")))
        _show("No anomalies." if anomalies.empty else anomalies)

    def show_training(self) -> None:
        """Show loss and accuracy after each epoch."""
        table = views.training_table(self.folder("Trainer", "model_run"))
        if table.empty:
            _show("No curves: trainer.tensorboard is false.")
        else:
            _show(table.round(4), views.training_figure(table))

    def show_evaluation(self) -> None:
        """Show the decision in words, all metrics, and the deciding metric by slice."""
        record = read_evaluation_folder(self.folder("Evaluator", "evaluation"))
        _show("\n".join(record.sentences))
        _show(views.metrics_table(record), views.slices_table(record), views.slices_figure(record))

    def show_predictions(self, count: int = 10) -> None:
        """Show the most confident mistakes on the test split, then the most confident successes."""
        evaluation = self.folder("Evaluator", "evaluation")
        examples = self.folder("ExampleGen", "examples")
        _show(views.predictions_table(evaluation, examples, count))

    def classify(self, texts: Sequence[str]) -> pandas.DataFrame:
        """Classify texts with the model that was just trained, pushed or not.

        Returns:
            One row per text: the text, its label and the label's probability.

        Raises:
            UserError: the Trainer has not run.
        """
        from runners.predict.local import Predictor

        with _quiet():
            folder = self.folder("Trainer", "model") / "Format-Serving"
            answers = Predictor(folder).predict(list(texts))
        return pandas.DataFrame(
            [{"text": a.text, "label": a.label, "score": round(a.score, 4)} for a in answers]
        )

    def folder(self, node: str, output: str) -> Path:
        """Return the folder of a node's output.

        Raises:
            UserError: the node has not run.
        """
        if node not in self._done:
            raise UserError(f"{node} has not run; run it first: notebook.run(to={node!r})")
        found = next(component for component in self.components if component.id == node)
        [artifact] = found.outputs[output].get()
        return Path(artifact.uri)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide what libraries print and display: pages of it, some with scripts from the network."""
    with capture_output(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _show(*parts: Any) -> None:
    """Display tables, figures and text in this order."""
    for part in parts:
        if isinstance(part, Figure):
            png = io.BytesIO()
            part.savefig(png, format="png", dpi=110)
            ipython.display(ipython.Image(png.getvalue()))
        elif isinstance(part, str):
            print(part)
        else:
            ipython.display(part)
