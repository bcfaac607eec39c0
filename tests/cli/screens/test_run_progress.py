import io

import pytest
from rich.console import Console

from cli.screens.run_progress import (
    Board,
    LiveDisplay,
    PlainDisplay,
    describe_sources,
    describe_step,
    describe_trial,
    make_display,
    print_summary,
)

STARTED = {"event": "run_started", "run_id": "r1", "nodes": ["A", "Trainer"], "log": "/x/r1.log"}
STEP = {
    "event": "step",
    "component": "Trainer",
    "step": 20,
    "steps": 150,
    "epoch": 1,
    "epochs": 3,
    "loss": 0.42134,
    "seconds_left": 65.2,
}


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_board_follows_a_run(clock: Clock) -> None:
    board = Board(clock)
    board.apply(STARTED)
    assert [(node.name, node.state) for node in board.nodes.values()] == [
        ("A", "waiting"),
        ("Trainer", "waiting"),
    ]
    board.apply({"event": "node_finished", "node": "A", "state": "cached", "seconds": 0.2})
    board.apply({"event": "node_started", "node": "Trainer"})
    clock.now += 7
    trainer = board.nodes["Trainer"]
    assert board.elapsed(trainer) == 7
    board.apply(STEP)
    assert trainer.progress == "epoch 1/3, step 20/150, loss 0.4213, 1:05 left"
    board.apply(
        {"event": "node_finished", "node": "Trainer", "state": "failed", "seconds": 9, "error": "x"}
    )
    assert (trainer.state, trainer.progress, trainer.error) == ("failed", "", "x")
    assert board.elapsed(trainer) == 9
    board.apply({"event": "run_finished", "state": "failed", "seconds": 10, "error": "x"})
    assert (board.state, board.error, board.seconds) == ("failed", "x", 10)


def test_board_ignores_unknown_events(clock: Clock) -> None:
    board = Board(clock)
    assert board.apply({"event": "something_new", "node": "A"}) is None
    assert board.apply({}) is None
    assert board.nodes == {}


def test_step_description_omits_missing_fields() -> None:
    assert describe_step({"step": 3, "steps": 4}) == "step 3/4"
    assert describe_step({"loss": 1.0}) == "loss 1.0000"
    assert describe_step({"step": 3, "epochs": 2}) == ""
    assert describe_step({"trial": 2, "step": 3, "steps": 4, "seconds_left": 9}) == (
        "trial 2, step 3/4, 9.0 s of the trial left"
    )


def test_source_description_counts_cached_sources(clock: Clock) -> None:
    board = Board(clock)
    board.apply({"event": "node_started", "node": "ExampleGen"})
    node = board.apply(
        {"event": "ingested", "component": "ExampleGen", "sources": 3, "from_cache": 2}
    )
    assert node is not None
    assert node.progress == "3 sources, 2 from the cache"
    assert describe_sources({"sources": 1, "from_cache": 0}) == "1 source, 0 from the cache"


def test_trial_description_shows_the_best_score() -> None:
    event = {"trial": 2, "trials": 6, "objective": "val_accuracy", "best": 0.87123}
    assert describe_trial(event) == "trial 2/6, best val_accuracy 0.8712"
    assert describe_trial({"trial": 1}) == "trial 1"


def plain(clock: Clock) -> tuple[PlainDisplay, io.StringIO]:
    output = io.StringIO()
    return PlainDisplay(Console(file=output, width=80), clock), output


def test_plain_output_has_no_control_characters(clock: Clock) -> None:
    display, output = plain(clock)
    with display:
        display(STARTED)
        display({"event": "node_started", "node": "A"})
        display({"event": "node_finished", "node": "A", "state": "ran", "seconds": 3.21})
        display({"event": "node_started", "node": "Trainer"})
        display(
            {
                "event": "node_finished",
                "node": "Trainer",
                "state": "failed",
                "seconds": 75,
                "error": "[bold]no[/bold] " + "memory " * 20,
            }
        )
    text = output.getvalue()
    assert text.splitlines()[:4] == [
        "run r1, log /x/r1.log",
        "A: running",
        "A: ran in 3.2 s",
        "Trainer: running",
    ]
    assert len(text.splitlines()) == 5
    assert text.splitlines()[4].startswith("Trainer: failed in 1:15: ")
    assert all(character.isprintable() or character == "\n" for character in text)


def test_plain_output_prints_a_step_every_30_seconds(clock: Clock) -> None:
    display, output = plain(clock)
    display(STARTED)
    display({"event": "node_started", "node": "Trainer"})
    for _ in range(100):
        clock.now += 1
        display(STEP)
    lines = [line for line in output.getvalue().splitlines() if "step" in line]
    assert lines == ["Trainer: epoch 1/3, step 20/150, loss 0.4213, 1:05 left"] * 3


def test_live_output_has_a_line_for_each_component() -> None:
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=100)
    with LiveDisplay(console) as display:
        display(STARTED)
        display({"event": "node_started", "node": "Trainer"})
        display(STEP)
        shown = Console(file=io.StringIO(), width=100)
        shown.print(display.__rich__())
    lines = shown.file.getvalue().splitlines()
    assert len(lines) == 2
    assert "waiting" in lines[0]
    assert "running" in lines[1]
    assert "loss 0.4213, 1:05 left" in lines[1]


def test_live_output_starts_with_starting() -> None:
    display = LiveDisplay(Console(file=io.StringIO(), force_terminal=True, width=50))
    shown = Console(file=io.StringIO(), width=50)
    shown.print(display.__rich__())
    assert shown.file.getvalue().split()[-1] == "starting"


def test_live_output_does_not_wrap_in_a_narrow_window() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=50)
    display = LiveDisplay(console)
    display(STARTED)
    display({"event": "node_started", "node": "Trainer"})
    display(STEP)
    shown = Console(file=io.StringIO(), width=50)
    shown.print(display.__rich__())
    assert len(shown.file.getvalue().splitlines()) == 2


def test_display_is_live_only_on_a_terminal() -> None:
    terminal = Console(file=io.StringIO(), force_terminal=True)
    assert isinstance(make_display(terminal), LiveDisplay)
    assert isinstance(make_display(Console(file=io.StringIO())), PlainDisplay)


def test_summary_lists_every_component(clock: Clock) -> None:
    board = Board(clock)
    board.apply(STARTED)
    board.apply({"event": "node_finished", "node": "A", "state": "ran", "seconds": 1.0})
    board.apply({"event": "run_finished", "state": "succeeded", "seconds": 61})
    output = io.StringIO()
    print_summary(Console(file=output, width=80), board)
    lines = [line.split() for line in output.getvalue().splitlines() if line.strip()]
    assert lines == [
        ["component", "state", "time"],
        ["A", "ran", "1.0", "s"],
        ["Trainer", "waiting"],
        ["Run", "r1", "succeeded", "in", "1:01.", "Log:", "/x/r1.log"],
    ]


def test_run_that_failed_before_it_started_has_no_table(clock: Clock) -> None:
    board = Board(clock)
    board.apply({"event": "run_finished", "state": "failed", "seconds": 1})
    output = io.StringIO()
    print_summary(Console(file=output, width=80), board)
    assert output.getvalue().strip() == "The run failed in 1.0 s."
