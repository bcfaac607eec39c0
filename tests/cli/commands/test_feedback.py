"""``bert feedback`` and ``bert keys`` on the command line."""

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli import main as cli
from components.ingestion.csv_reader import read_csv
from components.ingestion.rows import Columns, RawRow
from pipeline.config import Config
from serving.feedback.store import FeedbackStore
from serving.records.api_keys import ApiKeys
from serving.records.database import Database

LABELS = ["neg", "pos"]


@pytest.fixture
def database(config: Config) -> Iterator[Database]:
    database = Database(config.database_url())
    yield database
    database.close()


@pytest.fixture
def bert(config: Config, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple]:
    """Return a function that runs a command on the test's folders: exit code, output, errors."""
    options = [
        f"--set=pipeline.root={config.pipeline_root()}",
        f"--set=pusher.base_directory={config.push_directory()}",
        "--set=pipeline.name=test",
    ]

    def call(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            cli.main([*words, *options])
        out, err = capsys.readouterr()
        return int(caught.value.code or 0), out, err

    return call


def push(config: Config) -> None:
    """Push a model that knows the labels."""
    folder = Path(config.push_directory()) / "1"
    (folder / "assets.extra").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"")
    (folder / "assets.extra/labels.txt").write_text("neg\npos\n")


def vote(database: Database, key: str, label: str, text: str) -> str:
    store = FeedbackStore(database)
    return store.add_vote(key_id=key, label=label, labels=LABELS, text=text).text_identity


def test_agreed_and_reviewed_votes_are_exported(bert, config: Config, database: Database) -> None:
    push(config)
    vote(database, "k", "pos", "a good film")
    vote(database, "l", "neg", "a bad film")
    disputed = vote(database, "k", "pos", "disputed")
    vote(database, "l", "neg", "disputed")
    odd = vote(database, "l", "odd", "strange")

    code, out, err = bert("feedback", "export")
    assert (code, err) == (0, "")
    assert "conflicting votes" in out
    assert "No run yet, so no texts are held out" in out
    assert "Texts to review: 2" in out
    assert out.endswith(f"{config.spans_directory()}/span-1: 2 examples\n")

    _, out, _ = bert("feedback", "review")
    assert [line.split()[0] for line in out.splitlines()[1:]] == sorted([disputed[:12], odd[:12]])
    assert "pos (k), neg (l)" in out

    assert bert("feedback", "review", disputed[:12], "--label", "neg")[:2] == (
        0, f"{disputed[:12]} is neg: disputed\n",
    )  # fmt: skip
    assert bert("feedback", "review", odd[:12], "--discard")[1].startswith(f"{odd[:12]} discarded")
    assert bert("feedback", "review")[1] == "No texts to review.\n"

    _, out, _ = bert("feedback", "export", "--json")
    report = json.loads(out)
    assert (report["span"], report["examples"], report["counts"]["reviewed"]) == (2, 1, 1)
    assert "no span was written" in bert("feedback", "export")[1]
    _, out, _ = bert("feedback", "list", "--json")
    assert [(span["number"], span["state"]) for span in json.loads(out)] == [
        (1, "sound"), (2, "sound"),
    ]  # fmt: skip
    assert "span-2" in bert("feedback", "list")[1]


def test_reading_a_span_returns_the_voted_texts(bert, config: Config, database: Database) -> None:
    """Read with the pipeline's own reader."""
    push(config)
    texts = ['"quoted", with commas', "lines\r\nand\rreturns\n.", "\ttabs; semicolons", "ünï ☃"]
    for text in texts:
        vote(database, "k", "pos", text)
    bert("feedback", "export")
    path = Path(config.spans_directory()) / "span-1/feedback.csv"
    with path.open("rb") as file:
        columns = Columns("text", "label")
        found = list(read_csv(file, columns, source=str(path), max_text_bytes=1000))
    assert all(isinstance(row, RawRow) for row in found)
    assert sorted((row.text, row.label) for row in found) == sorted((each, "pos") for each in texts)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--label", "pos"], "need an ID"),
        (["abcdef"], "either --label LABEL or --discard"),
        (["abcdef", "--label", "pos", "--discard"], "either --label LABEL or --discard"),
        (["abcdef", "--discard", "--new-class"], "--new-class goes with --label"),
        (
            ["abcdef", "--label", "odd"],
            "its labels are neg, pos; use one of them, or add --new-class",
        ),
        (["abcdef", "--label", ""], "use another --label"),
        (["abcdef", "--label", "pos"], "there is no feedback on a text 'abcdef'"),
        (["abcdef", "--label", "pos"], "`bert feedback review` lists"),
    ],
)
def test_incomplete_review_is_refused(bert, config: Config, words: list[str], message: str) -> None:
    push(config)
    code, out, err = bert("feedback", "review", *words)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_label_outside_data_labels_is_refused(bert, database: Database) -> None:
    identity = vote(database, "k", "odd", "strange")
    words = ("feedback", "review", identity, "--label", "odd", "--new-class")
    code, _, err = bert(*words, '--set=data.labels=["neg", "pos"]')
    assert code == 2
    assert "is not in data.labels" in err


def test_key_works_until_it_is_disabled(
    bert, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    assert "bert keys create" in bert("keys", "list")[1]
    code, out, err = bert(
        "keys", "create", "--name", "the site", "--scope", "feedback", "--scope", "predict"
    )
    secret = out.strip()
    assert code == 0
    assert secret not in err + caplog.text, "the secret is printed once, on its own"
    key = ApiKeys(database).authenticate(secret)
    assert key is not None
    assert key.scopes == ["predict", "feedback"]
    _, out, _ = bert("keys", "list")
    assert "the site" in out
    assert "enabled" in out
    assert secret not in out
    assert bert("keys", "disable", key.id)[0] == 0
    assert ApiKeys(database).authenticate(secret) is None
    [listed] = json.loads(bert("keys", "list", "--json")[1])
    assert listed["disabled"] is not None
    assert set(listed) == {"id", "name", "scopes", "created", "disabled"}


def test_new_key_as_json_contains_the_secret(bert, database: Database) -> None:
    made = json.loads(bert("keys", "create", "--name", "x", "--scope", "admin", "--json")[1])
    key = ApiKeys(database).authenticate(made["key"])
    assert key is not None
    assert key.id == made["id"]


def test_unknown_scope_is_refused(bert) -> None:
    code, _, err = bert("keys", "create", "--name", "x", "--scope", "predcit")
    assert code == 2
    assert "--scope: must be at least one of predict, feedback, admin; received 'predcit'" in err
