"""The story of the README on the real encoder: push, rerun, reject, predict."""

import json

import pytest

from tests.e2e.conftest import SAMPLE, Workplace, take_rows

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """The bundled sample with the default encoder, trained and pushed."""
    folder = tmp_path_factory.mktemp("story")
    take_rows(SAMPLE, folder / "reviews.csv", 1000)
    workplace = Workplace(folder, {"data.path": "reviews.csv", "pusher.base_directory": "models"})
    done = workplace.bert("run")
    assert done.returncode == 0, done.stdout + workplace.log()
    (folder / "first_output.txt").write_text(done.stdout)
    return workplace


def test_the_first_model_is_pushed_and_the_output_says_so(story: Workplace) -> None:
    output = (story.folder / "first_output.txt").read_text()
    [version] = story.versions()
    assert f"models/{version}" in output
    assert "accuracy" in output
    assert "bert predict" in output
    assert (story.models / version / "saved_model.pb").is_file()
    assert story.decision()["pushed" if "pushed" in story.decision() else "blessed"] is True


def test_the_pushed_model_knows_good_from_bad(story: Workplace) -> None:
    texts = ["I loved every minute of it, wonderful.", "Terrible. A waste of money, avoid."]
    done = story.bert("predict", "--json", *texts)
    assert done.returncode == 0, done.stdout
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert [answer["label"] for answer in answers] == ["positive", "negative"]


def test_a_rerun_trains_nothing_and_pushes_nothing(story: Workplace) -> None:
    before = story.versions()
    states = story.run()
    assert {state for name, state in states.items() if name != "Resolver"} == {"cached"}
    assert story.versions() == before


def test_a_worse_model_is_not_pushed_and_the_reason_is_printed(story: Workplace) -> None:
    before = story.versions()
    done = story.bert("run", trainer__epochs=0)
    assert done.returncode == 0, done.stdout + story.log()
    assert story.versions() == before
    assert "not pushed" in done.stdout.lower()


def test_a_rejected_model_never_becomes_the_baseline(story: Workplace) -> None:
    """After the rejection, the next candidate is still compared with the pushed model."""
    before = story.versions()
    story.run(trainer__epochs=0, trainer__seed=7)
    assert story.versions() == before
    decision = story.decision()
    assert decision["baseline"], "the pushed model is the baseline"
