import json
from pathlib import Path

import pytest

from cli import main as cli
from modules.contract.errors import UserError
from pipeline.config import Config
from runners.lineage.trace import SHOWN, read_trace
from serving.records.database import Database
from serving.records.tables import PredictionRow

REQUEST = "0123456789abcdef0123456789abcdef"
SOURCE = "/m/trained"
CARD = {"encoder": "tiny", "code_digest": "c0de" * 16, "data_fingerprint": "da7a", "labels": ["a"]}


@pytest.fixture
def database(config: Config):
    database = Database(config.database_url())
    yield database
    database.close()


def answer(database, *, request=REQUEST, position=0, suffix="", **values) -> None:
    row = {
        "id": f"{request}-{position}{suffix}", "request_id": request, "position": position,
        "created": 1e9, "key_id": "anonymous", "model_version": 7, "role": "stable",
        "status": "ok", "latency_ms": 5.0, "label": "pos", "score": 0.75, "scores": None,
        "text": "a secret text", "text_identity": "x", "characters": 13, **values,
    }  # fmt: skip
    with database.begin() as session:
        session.add(PredictionRow(**row))


def push(config: Config, version=7) -> Path:
    folder = Path(config.push_directory()) / str(version) / "assets.extra"
    folder.mkdir(parents=True)
    manifest = {"fingerprint": "f", "source": SOURCE, "version": version}
    (folder / "push.json").write_text(json.dumps(manifest))
    (folder / "model_card.json").write_text(json.dumps(CARD))
    return folder


@pytest.fixture
def history(metadata, tmp_path):
    """Record a run that trained, one that pushed the cached model, and a later one."""
    evaluation = tmp_path / "evaluation"
    evaluation.mkdir()
    decision = {"blessed": True, "metric": "accuracy", "candidate": 0.9, "sentences": ["Good."]}
    (evaluation / "decision.json").write_text(json.dumps(decision))
    examples = {
        "examples": ("Examples", "/e", {
            "examples": 120, "input_fingerprint": "ab" * 32, "feedback_spans": "[1, 2]",
            "feedback_counts": '{"added": 15, "relabelled": 5, "repeated": 0}',
        })
    }  # fmt: skip
    model = {"model": ("Model", SOURCE, {})}
    custom = {"training": json.dumps({"code_digest": "feed" * 16}), "hparams": "{}"}
    paths = {"paths": '["/data/base.csv"]', "code_digest": "1dea" * 16, "__internal": "x"}
    for run in ("trained", "pushed", "later"):
        state = "COMPLETE" if run == "trained" else "CACHED"
        metadata.add_node(run, "ExampleGen", state, outputs=examples, parameters=paths)
        metadata.add_node(
            run, "Trainer", state, outputs=model, parameters={"custom_config": json.dumps(custom)}
        )
        if run == "trained":
            continue
        metadata.add_node(
            run, "Evaluator", outputs={"evaluation": ("ModelEvaluation", str(evaluation), {})}
        )
        pushed = {"pushed": 1, "pushed_version": "7", "pushed_destination": "/p/7"}
        metadata.add_node(run, "Pusher", outputs={"pushed_model": ("PushedModel", "/p", pushed)})


def trace(config, database, wanted=f"{REQUEST}-0"):
    return read_trace(config, database, wanted)


def test_trace_follows_the_whole_chain(config, database, history) -> None:
    answer(database)
    push(config)
    found = trace(config, database)
    assert found.missing == []
    [origin] = found.origins
    assert origin.missing == []
    assert origin.source == SOURCE
    assert origin.trained.run_id == "trained"
    assert origin.pushed.run_id == "pushed"
    assert origin.data.paths == ["/data/base.csv"]
    assert origin.data.feedback_spans == [1, 2]
    assert origin.data.feedback == {"added": 15, "relabelled": 5}
    assert origin.data.fingerprint == "ab" * 32
    assert (origin.evaluation.blessed, origin.evaluation.value) == (True, 0.9)
    assert origin.evaluation.sentences == ["Good."]
    assert origin.code == {"ExampleGen": "1dea" * 16, "Trainer": "feed" * 16}
    assert origin.model == {
        "encoder": "tiny",
        "code_digest": "c0de" * 16,
        "data_fingerprint": "da7a",
    }


def test_version_without_a_folder_is_found_by_its_push(config, database, history) -> None:
    answer(database)
    [origin] = trace(config, database).origins
    assert origin.trained.run_id == "trained"
    assert origin.source == SOURCE
    assert len(origin.missing) == 1
    assert "does not exist, or pusher.base_directory has changed" in origin.missing[0]


def test_trace_without_runs_uses_the_pushed_folder(config, database) -> None:
    answer(database)
    push(config)
    [origin] = trace(config, database).origins
    assert origin.trained is None
    assert origin.code == {"Trainer": "c0de" * 16}
    assert origin.missing[0].startswith("the training run: pipeline 'test' has no runs under")


def test_missing_manifest_is_reported(config, database, history) -> None:
    answer(database, model_version=9)
    folder = push(config, 9)
    (folder / "push.json").unlink()
    (folder / "model_card.json").write_text("[")
    [origin] = trace(config, database).origins
    assert [reason.split(":")[0] for reason in origin.missing] == [
        "the manifest", "the model card", "the training run",
    ]  # fmt: skip


def test_request_with_a_failed_canary_traces_both_versions(config, database) -> None:
    answer(database)
    answer(database, suffix="-canary", model_version=8, role="canary", status="INTERNAL",
           label=None, score=None)  # fmt: skip
    answer(database, position=1, text=None)
    found = trace(config, database, REQUEST)
    assert [row.id for row in found.predictions] == [
        f"{REQUEST}-0", f"{REQUEST}-0-canary", f"{REQUEST}-1",
    ]  # fmt: skip
    assert [origin.version for origin in found.origins] == [7, 8]
    assert found.missing == ["the text was not stored: gateway.store_texts was false"]


def test_unanswered_request_has_no_version(config, database) -> None:
    answer(database, model_version=None, status="UNAVAILABLE", label=None, score=None)
    found = trace(config, database)
    assert found.origins == []
    assert found.missing == ["no version answered: the model server could not be reached"]


def test_long_request_is_truncated(config, database) -> None:
    for position in range(SHOWN + 5):
        answer(database, position=position)
    found = trace(config, database, REQUEST[:8])
    assert (len(found.predictions), found.count) == (SHOWN, SHOWN + 5)


@pytest.mark.parametrize(
    ("wanted", "words"),
    [("nothing-like-it", "there is no prediction"), (REQUEST[:3], "at least 6 characters"),
     ("%%%%%%%", "there is no"), (REQUEST[:10], "several requests begin")],
)  # fmt: skip
def test_unknown_or_ambiguous_id_is_refused(config, database, wanted, words) -> None:
    answer(database)
    answer(database, request=REQUEST[:-1] + "0")
    with pytest.raises(UserError, match=words):
        trace(config, database, wanted)


def run(config: Config, *words: str) -> None:
    options = [
        f"pipeline.root={config.pipeline_root()}", "pipeline.name=test",
        f"pusher.base_directory={config.push_directory()}",
    ]  # fmt: skip
    with pytest.raises(SystemExit) as caught:
        cli.main(["trace", REQUEST, *words, *(f"--set={option}" for option in options)])
    assert not caught.value.code


def test_command_prints_the_trace(config, database, history, capsys) -> None:
    answer(database)
    push(config)
    run(config)
    shown = capsys.readouterr().out
    for words in (
        f"request {REQUEST}", "pos (0.750), by version 7, stable", "trained by run trained",
        "pushed by run pushed", "feedback spans: span-1, span-2 (15 added, 5 relabelled)",
        "evaluation: passed", "Trainer: feedfeedfeed\n",
    ):  # fmt: skip
        assert words in shown
    assert "secret" not in shown
    assert "missing" not in shown


def test_texts_are_shown_only_on_request(config, database, capsys) -> None:
    answer(database)
    run(config, "--show-text")
    assert "text: a secret text" in capsys.readouterr().out
    run(config, "--json")
    record = json.loads(capsys.readouterr().out)
    assert "text" not in record["predictions"][0]
    assert record["versions"][0]["missing"]
    run(config, "--json", "--show-text")
    assert json.loads(capsys.readouterr().out)["predictions"][0]["text"] == "a secret text"
