"""Resolver, Evaluator and Pusher in one TFX graph, in several runs on the local runner."""

import os
from pathlib import Path
from typing import Any

import pytest
from tfx.orchestration import metadata, pipeline
from tfx.orchestration.local.local_dag_runner import LocalDagRunner

from components.evaluator import make_evaluator
from components.model_resolver import make_model_resolver
from components.pusher import make_pusher
from tests.components import stand_ins
from tests.components.beam_arguments import BEAM_ARGUMENTS

pytestmark = pytest.mark.slow  # seven runs

GOOD = ("good", "bad")
FAIR = ("good", "word")  # every text has a keyword against "positive"
WORST = ("bad", "good")


class Workplace:
    """Pipeline root, with access to its metadata and its serving folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.serving = folder / "serving"
        self.connection = metadata.sqlite_metadata_connection_config(str(folder / "mlmd.sqlite"))

    def run(self, words: tuple[str, str]) -> dict[str, Any]:
        """Run once, and return the nodes that ran and the ids of candidate and baseline."""
        example_gen = stand_ins.ExampleGen()
        trainer = stand_ins.Trainer(good_word=words[0], bad_word=words[1])
        model = trainer.outputs["model"]
        resolver = make_model_resolver(model=model)
        evaluator = make_evaluator(
            examples=example_gen.outputs["examples"],
            model=model,
            baseline_model=resolver.outputs["model"],
            bootstrap_samples=100,
            code_digest="",
        )
        pusher = make_pusher(
            model=model,
            model_blessing=evaluator.outputs["blessing"],
            infra_blessing=None,
            base_directory=str(self.serving),
            code_digest="",
        )
        before = self._executions()
        LocalDagRunner().run(
            pipeline.Pipeline(
                pipeline_name="gates",
                pipeline_root=str(self.folder / "root"),
                components=[example_gen, trainer, resolver, evaluator, pusher],
                enable_cache=True,
                metadata_connection_config=self.connection,
                beam_pipeline_args=list(BEAM_ARGUMENTS),
            )
        )
        return self._describe(set(self._executions()) - set(before))

    def versions(self) -> list[str]:
        if not self.serving.exists():
            return []
        return sorted(name for name in os.listdir(self.serving) if name.isdecimal())

    def _executions(self) -> list[int]:
        with metadata.Metadata(self.connection) as handle:
            return [execution.id for execution in handle.store.get_executions()]

    def _describe(self, executions: set[int]) -> dict[str, Any]:
        answer: dict[str, Any] = {"ran": set()}
        with metadata.Metadata(self.connection) as handle:
            store = handle.store
            names = {kind.id: kind.name for kind in store.get_execution_types()}
            for execution in store.get_executions_by_id(sorted(executions)):
                node = names[execution.type_id].rsplit(".", 1)[-1]
                if execution.last_known_state == execution.COMPLETE:
                    answer["ran"].add(node)
                for event in store.get_events_by_execution_ids([execution.id]):
                    key = event.path.steps[0].key
                    if node == "Resolver" and event.type == event.INTERNAL_OUTPUT:
                        answer[key] = event.artifact_id
                    if node == "Trainer":
                        answer["candidate"] = event.artifact_id
        return answer


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return Workplace(tmp_path_factory.mktemp("gates"))


def test_only_an_improvement_is_pushed(workplace: Workplace) -> None:
    first = workplace.run(FAIR)
    assert first["ran"] >= {"Trainer", "Evaluator", "Pusher"}
    assert "model" not in first  # there is no baseline, which does not fail the run
    assert len(workplace.versions()) == 1

    again = workplace.run(FAIR)
    assert again["ran"] & {"Trainer", "Evaluator", "Pusher"} == set()
    assert "model" not in again  # the candidate is not its own baseline
    assert len(workplace.versions()) == 1

    worse = workplace.run(WORST)
    assert worse["model"] == first["candidate"]
    assert len(workplace.versions()) == 1

    better = workplace.run(GOOD)
    assert better["model"] == first["candidate"]  # the rejected one never became the baseline
    assert len(workplace.versions()) == 2

    cached = workplace.run(GOOD)
    assert cached["ran"] & {"Trainer", "Evaluator", "Pusher"} == set()
    assert cached["model"] == first["candidate"]
    assert len(workplace.versions()) == 2

    rejected_again = workplace.run(WORST)  # with another baseline than the last time
    assert rejected_again["model"] == better["candidate"]
    assert rejected_again["ran"] & {"Trainer"} == set()
    assert "Evaluator" in rejected_again["ran"]
    assert len(workplace.versions()) == 2

    older = workplace.run(FAIR)  # trained before, now compared with the better one
    assert older["model"] == better["candidate"]
    assert len(workplace.versions()) == 2
