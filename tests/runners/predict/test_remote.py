"""``bert predict --url``: the same command, answered by a server."""

import io
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rich.console import Console

from cli import main as cli
from cli.screens.predictions import Progress, print_table
from modules.contract.errors import UserError
from runners.predict.local import TextPrediction
from runners.predict.remote import predict_remotely
from runners.predict.text_lines import Position, read_texts
from serving.protocol.errors import Code
from tests.serving.client.client_stubs import STUBS, Fault, Stub


@pytest.fixture(params=STUBS)
def stub(request: pytest.FixtureRequest) -> Iterator[Stub]:
    with STUBS[request.param]() as stub:
        yield stub


Predict = Callable[..., int]


@pytest.fixture
def predict(stub: Stub, tmp_path: Path) -> Predict:
    """Return a function that runs ``bert predict`` against the stub and returns its exit code."""

    def run(*arguments: str) -> int:
        words = ["predict", *arguments, "--url", stub.url]
        with pytest.raises(SystemExit) as caught:
            cli.main([*words, "--set", f"pusher.base_directory={tmp_path}"])
        return int(caught.value.code or 0)

    return run


def push(folder: Path, version: int) -> None:
    extra = folder / str(version) / "assets.extra"
    extra.mkdir(parents=True)
    (extra / "labels.txt").write_text("bad\ngood\n")


def test_predictions_are_printed(predict: Predict, capfd: pytest.CaptureFixture[str]) -> None:
    assert predict("a good film", "so\nso") == 0
    out, err = capfd.readouterr()
    assert out == "good\t0.7500\ta good film\nbad\t0.7500\tso so\n"
    assert err == ""


def test_pushed_labels_name_the_scores(
    predict: Predict, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    push(tmp_path, 7)  # the version that the stub serves
    assert predict("good", "--json") == 0
    expected = {"text": "good", "label": "good", "score": 0.75}
    answer = json.loads(capfd.readouterr().out)
    assert answer == expected | {"scores": {"bad": 0.25, "good": 0.75}}


def test_scores_of_a_version_that_is_not_pushed_are_a_list(
    predict: Predict, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    push(tmp_path, 6)
    assert predict("good", "--json") == 0
    assert json.loads(capfd.readouterr().out)["scores"] == [0.25, 0.75]


def test_label_and_model_are_in_the_route(predict: Predict, stub: Stub) -> None:
    assert predict("x", "--label", "stable", "--model_name", "films") == 0
    for call in stub.calls:
        assert "films/" in call.route
        assert "stable" in call.route


def test_predictions_of_a_long_file_are_in_order(
    predict: Predict, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    texts = [f"{'good' if number % 3 else 'no'} {number}" for number in range(3000)]
    (tmp_path / "texts").write_text("\n".join(texts))
    assert predict("--file", str(tmp_path / "texts")) == 0
    lines = [line.split("\t") for line in capfd.readouterr().out.splitlines()]
    assert [line[2] for line in lines] == texts
    assert [line[0] == "good" for line in lines] == [text.startswith("good") for text in texts]


def test_rejection_is_one_line_and_exit_code_2(
    predict: Predict, stub: Stub, capfd: pytest.CaptureFixture[str]
) -> None:
    stub.always = Fault(Code.NOT_FOUND, "Servable not found for request: Latest(default)")
    assert predict("x") == 2
    error = "the server rejected the request: NOT_FOUND: Servable not found for request: "
    assert capfd.readouterr().err == f"error: {error}Latest(default)\n"


def test_unreachable_server_is_one_line_and_exit_code_2(capfd: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(SystemExit) as caught:
            cli.main(["predict", "x", "--url", url])
    assert caught.value.code == 2
    expected = f"error: cannot reach {url}: Connection refused; start a server with `bert serve`\n"
    assert capfd.readouterr().err == expected


def test_label_needs_a_server(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["predict", "x", "--label", "stable"])
    assert caught.value.code == 2
    assert "--label needs --url" in capfd.readouterr().err


def test_version_and_label_exclude_each_other() -> None:
    options = {"model": "default", "version": 1, "label": "a", "push_directory": "."}
    with pytest.raises(UserError, match="a version or a label"):
        next(predict_remotely(["x"], "http://127.0.0.1:1", **options))


def test_progress_is_printed_at_intervals() -> None:
    now = 0.0
    console = Console(file=io.StringIO(), force_terminal=False)
    seen = []
    with Progress(console, clock=lambda: now) as progress:
        for item in progress.track(range(1, 101)):
            seen.append(item)
            now += 1.0
    assert seen == list(range(1, 101))
    lines = console.file.getvalue().splitlines()
    assert lines == [
        "31 texts in 30.0 s, 1 a second",
        "61 texts in 1:00, 1 a second",
        "91 texts in 1:30, 1 a second",
    ]


def test_progress_includes_the_time_left_if_the_size_is_known() -> None:
    now = 0.0
    console = Console(file=io.StringIO(), force_terminal=False)
    with Progress(console, clock=lambda: now, share=lambda: now / 120) as progress:
        for _ in progress.track(range(31)):
            now += 1.0
    (line,) = console.file.getvalue().splitlines()
    assert line == "31 texts in 30.0 s, 1 a second, 25% of the file read, about 1:30 left"


def test_output_file_appears_when_it_is_complete(
    stub: Stub, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    texts, output = tmp_path / "texts.txt", tmp_path / "folder" / "answers.tsv"
    texts.write_text("".join(f"good {number}\n" for number in range(1000)), "utf-8")
    arguments = ["predict", "--file", str(texts), "--output", str(output), "--url", stub.url]
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code in (0, None)
    lines = output.read_text("utf-8").splitlines()
    assert lines[999] == "good\t0.7500\tgood 999"
    assert capfd.readouterr().out == ""
    stub.always = Fault(Code.INTERNAL)
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert output.read_text("utf-8").splitlines() == lines
    assert [path.name for path in output.parent.iterdir()] == ["answers.tsv"]


def test_position_follows_the_file(tmp_path: Path) -> None:
    file = tmp_path / "texts.txt"
    file.write_text("line\n" * 100_000, "utf-8")
    position = Position()
    texts = read_texts([], str(file), position)
    shares = [position.share() for number, _ in enumerate(texts) if number % 10_000 == 0]
    assert shares == sorted(shares)
    assert shares[0] < 0.1
    assert 0.85 < shares[-1] <= 1


def test_table_keeps_each_text_on_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([TextPrediction("a\nb", "good", 0.75, {})])
    assert "a b" in capsys.readouterr().out
