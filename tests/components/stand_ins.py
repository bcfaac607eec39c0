"""Fast stand-ins for ExampleGen and Trainer, for graphs that test the gates."""

from pathlib import Path

from tfx.dsl.component.experimental.annotations import OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import standard_artifacts

from tests.components import exports


@component
def ExampleGen(examples: OutputArtifact[standard_artifacts.Examples]) -> None:  # noqa: N802
    """Write sixty texts that contain their label's keyword zero to two times."""
    rows = [("good " * (i % 3) + "word", "positive") for i in range(30)]
    rows += [("bad " * (i % 3) + "word", "negative") for i in range(30)]
    made = exports.make_examples(Path(examples.uri), rows)
    examples.split_names = made.split_names


@component
def Trainer(  # noqa: N802
    model: OutputArtifact[standard_artifacts.Model],
    good_word: Parameter[str],
    bad_word: Parameter[str],
) -> None:
    """Write a model that is as good as the keywords that it counts."""
    keywords = {"negative": bad_word, "positive": good_word}
    exports.write_export(Path(model.uri, "Format-Serving"), keywords=keywords)
