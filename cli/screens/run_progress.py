"""Progress of a running pipeline, one line per component.

``Board`` holds the state, independent of any terminal. ``LiveDisplay`` redraws it in place on a
terminal. ``PlainDisplay`` prints a line for each change, without control characters, for logs and
pipes. Events are the dicts that ``runners.local.run.run`` passes to ``on_event``.
"""

import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Column, Table
from rich.text import Text

from cli.terminal import duration, plain_table

if TYPE_CHECKING:
    from runners.lineage.records import NodeRun

WAITING, RUNNING = "waiting", "running"
STYLES = {
    WAITING: "dim",
    RUNNING: "cyan",
    "ran": "green",
    "cached": "blue",
    "failed": "bold red",
    "skipped": "dim",
}
#: Seconds between progress lines of a training step off a terminal.
_PLAIN_INTERVAL = 30.0


@dataclasses.dataclass
class Node:
    """State of one component."""

    name: str
    state: str = WAITING
    started: float = 0.0
    seconds: float | None = None
    progress: str = ""
    error: str = ""


class Board:
    """State of a run, built from its events.

    Attributes:
        nodes: component id -> its state, in run order.
        run_id: id of the run, once it has started.
        log: the worker's log file, once the run has started.
        state: "running", "succeeded" or "failed".
        error: why the run failed.
        seconds: duration of the run, once it has ended.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Create an empty board; ``clock`` returns seconds."""
        self.nodes: dict[str, Node] = {}
        self.run_id = ""
        self.log = ""
        self.state = RUNNING
        self.error = ""
        self.seconds: float | None = None
        self._clock = clock

    def apply(self, event: Mapping[str, Any]) -> Node | None:
        """Apply one event and return the node that it changed; ignore unknown events."""
        kind = event.get("event")
        if kind == "run_started":
            self.run_id, self.log = str(event.get("run_id", "")), str(event.get("log", ""))
            for name in event.get("nodes", ()):
                self.nodes.setdefault(name, Node(name))
        elif kind == "run_finished":
            self.state, self.error = event["state"], event.get("error") or ""
            self.seconds = event.get("seconds")
        elif kind == "node_started":
            node = self._node(event["node"])
            node.state, node.started = RUNNING, self._clock()
            return node
        elif kind == "node_finished":
            node = self._node(event["node"])
            node.state, node.seconds = event["state"], event.get("seconds")
            node.progress, node.error = "", event.get("error") or ""
            return node
        elif kind == "ingested":
            node = self._node(event.get("component", "ExampleGen"))
            node.progress = describe_sources(event)
            return node
        elif kind in ("step", "trial"):
            node = self._node(event.get("component", "Trainer"))
            node.progress = describe_step(event) if kind == "step" else describe_trial(event)
            return node
        return None

    def elapsed(self, node: Node) -> float | None:
        """Return the seconds that the component took, or has run so far; None before it starts."""
        return self._clock() - node.started if node.state == RUNNING else node.seconds

    def _node(self, name: str) -> Node:
        return self.nodes.setdefault(name, Node(name))


def describe_step(event: Mapping[str, Any]) -> str:
    """Describe a training step: ``epoch 1/3, step 20/150, loss 0.4213, 1:05 left``."""
    words = [describe_trial(event)] if event.get("trial") is not None else []
    words += [
        f"{name} {event[name]}/{event[many]}"
        for name, many in (("epoch", "epochs"), ("step", "steps"))
        if event.get(name) is not None and event.get(many) is not None
    ]
    if event.get("loss") is not None:
        words.append(f"loss {event['loss']:.4f}")
    if event.get("seconds_left") is not None:
        of = " of the trial" if event.get("trial") is not None else ""
        words.append(f"{duration(event['seconds_left'])}{of} left")
    return ", ".join(words)


def describe_sources(event: Mapping[str, Any]) -> str:
    """Return how many files were read, and how many of them an earlier run had parsed."""
    sources, cached = event.get("sources", 0), event.get("from_cache", 0)
    count = "1 source" if sources == 1 else f"{sources} sources"
    return f"{count}, {cached} from the cache"


def describe_trial(event: Mapping[str, Any]) -> str:
    """Describe a Tuner trial: ``trial 2/6, best val_accuracy 0.8712``."""
    words = []
    if event.get("trial") is not None:
        of = f"/{event['trials']}" if event.get("trials") is not None else ""
        words.append(f"trial {event['trial']}{of}")
    if event.get("best") is not None:
        words.append(f"best {event.get('objective', 'score')} {event['best']:.4f}")
    return ", ".join(words)


class LiveDisplay:
    """Display that redraws one line per component in place."""

    def __init__(self, console: Console) -> None:
        """Draw on ``console``, which must be a terminal."""
        self.board = Board()
        self._console = console
        self._spinner = Spinner("dots")
        self._live = Live(self, console=console, refresh_per_second=5, transient=True)

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Apply one event."""
        self.board.apply(event)

    def __rich__(self) -> Table:
        """Return the current lines; rich calls this at each redraw."""
        table = Table(box=None, show_header=False, pad_edge=False)
        if not self.board.nodes:  # the worker is importing and compiling
            table.add_row(self._spinner, "starting")
        for node in self.board.nodes.values():
            seconds = self.board.elapsed(node)
            table.add_row(
                self._spinner if node.state == RUNNING else "",
                Text(node.name),
                Text(node.state, STYLES.get(node.state, "")),
                Text(duration(seconds) if seconds is not None else "", justify="right"),
                Text(node.progress or node.error, overflow="ellipsis", no_wrap=True),
            )
        return table

    def __enter__(self) -> Self:
        """Start drawing."""
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop drawing and leave the screen clean for the summary."""
        self._live.stop()


class PlainDisplay:
    """Display that prints a line for each change."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        """Print on ``console``; ``clock`` returns seconds."""
        self.board = Board(clock)
        self._console = console
        self._clock = clock
        self._last_line = 0.0

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Apply one event."""
        node = self.board.apply(event)
        if event.get("event") == "run_started":
            self._print(f"run {self.board.run_id}, log {self.board.log}")
        elif node is not None and self._is_due(event):
            self._print(_plain_line(node))

    def __enter__(self) -> Self:
        """Do nothing."""
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing."""

    def _is_due(self, event: Mapping[str, Any]) -> bool:
        return event["event"] != "step" or self._clock() - self._last_line >= _PLAIN_INTERVAL

    def _print(self, line: str) -> None:
        self._last_line = self._clock()
        self._console.print(line, soft_wrap=True)


def _plain_line(node: Node) -> str:
    if node.state == RUNNING:
        return f"{node.name}: {node.progress or RUNNING}"
    took = f" in {duration(node.seconds)}" if node.seconds is not None else ""
    return f"{node.name}: {node.state}{took}" + (f": {node.error}" if node.error else "")


def make_display(console: Console) -> LiveDisplay | PlainDisplay:
    """Return the display that suits the console."""
    return LiveDisplay(console) if console.is_terminal else PlainDisplay(console)


def nodes_table(nodes: "Iterable[Node | NodeRun]") -> Table:
    """Return a table of components with state and duration."""
    table = plain_table("component", "state", Column("time", justify="right"))
    for node in nodes:
        seconds = duration(node.seconds) if node.seconds is not None else ""
        table.add_row(node.name, Text(node.state, STYLES.get(node.state, "")), seconds)
    return table


def print_summary(console: Console, board: Board) -> None:
    """Print the final table of the run."""
    if board.nodes:
        console.print(nodes_table(board.nodes.values()))
        console.print()
    total = f" in {duration(board.seconds)}" if board.seconds is not None else ""
    name = f"Run {board.run_id}" if board.run_id else "The run"
    log = f" Log: {board.log}" if board.log else ""
    console.print(f"{name} {board.state}{total}.{log}", soft_wrap=True)
