"""The steps of docs/getting-started.md with the real encoder: run, predict, rerun, reject."""

import json
from pathlib import Path

import pytest

from tests.docs.test_commands import ALL_BLOCKS, copy_of_repository, run_script
from tests.e2e.conftest import Workplace

pytestmark = pytest.mark.slow

FIRST, *LATER = [block for block in ALL_BLOCKS if Path(__file__).name in block.skip_reason]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """Copy the repository and run ``make run`` there, with the settings of that target."""
    assert FIRST.text == "make run"
    folder = copy_of_repository(tmp_path_factory.mktemp("repository"))
    workplace = Workplace(folder, {"data.slice_columns": '["domain"]'}, source=folder)
    done = run_script(FIRST.text, folder)
    assert done.returncode == 0, done.stdout + done.stderr + workplace.log()
    (folder / "first_output.txt").write_text(done.stdout)
    return workplace


def test_first_model_is_pushed_and_the_output_names_it(story: Workplace) -> None:
    output = (story.folder / "first_output.txt").read_text()
    [version] = story.versions()
    assert f"serving_models/bert/{version}" in output
    assert "accuracy" in output
    to_type = output.partition("\nNext:\n")[2].splitlines()[:2]
    assert [line.split()[:2] for line in to_type] == [["bert", "serve"], ["bert", "predict"]]
    assert (story.models / version / "saved_model.pb").is_file()
    assert story.decision()["blessed"] is True


@pytest.mark.parametrize("block", LATER, ids=str)
def test_later_blocks_of_the_page_work(block, story: Workplace) -> None:
    done = run_script(block.text, story.folder)
    assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"


def test_pushed_model_tells_positive_from_negative(story: Workplace) -> None:
    texts = ["I loved every minute of it, wonderful.", "Terrible. A waste of money, avoid."]
    done = story.bert("predict", "--json", *texts)
    assert done.returncode == 0, done.stdout
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert [answer["label"] for answer in answers] == ["positive", "negative"]


def test_rerun_trains_and_pushes_nothing(story: Workplace) -> None:
    before = story.versions()
    states = story.run()
    assert {state for name, state in states.items() if name != "Resolver"} == {"cached"}
    assert story.versions() == before


def test_worse_model_is_not_pushed_and_the_reason_is_printed(story: Workplace) -> None:
    before = story.versions()
    done = story.bert("run", trainer__epochs=0)
    assert done.returncode == 0, done.stdout + story.log()
    assert story.versions() == before
    assert "not pushed" in done.stdout.lower()


def test_rejected_model_never_becomes_the_baseline(story: Workplace) -> None:
    """After a rejection, the next candidate is still compared with the pushed model."""
    before = story.versions()
    story.run(trainer__epochs=0, trainer__seed=7)
    assert story.versions() == before
    decision = story.decision()
    assert decision["baseline"], "the pushed model is the baseline"
