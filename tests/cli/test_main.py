import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from cli import main as cli
from modules.contract.errors import DataError
from pipeline.config_sources import CONFIGS
from runners.local import run as local
from runners.local.run import RunOutcome

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def bert(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Return a function that runs a command in this process: exit code, output, errors."""

    def call(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            cli.main(words)
        code = caught.value.code
        out, err = capsys.readouterr()
        return code if isinstance(code, int) else 0, out, err

    return call


@pytest.fixture
def options(tmp_path: Path) -> list[str]:
    root, base = tmp_path / "root", tmp_path / "serving"
    return [
        "--set",
        f"pipeline.root={root}",
        "--set",
        f"pusher.base_directory={base}",
        "--set",
        "pipeline.name=test",
    ]


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["run"],
        ["predict"],
        ["runs"],
        ["show"],
        ["doctor"],
        ["config"],
        ["config", "show"],
        ["config", "init"],
        ["schema"],
        ["schema", "show"],
        ["schema", "accept"],
        ["data"],
        ["data", "fetch"],
        ["feedback"],
        ["feedback", "export"],
        ["feedback", "review"],
        ["feedback", "list"],
        ["keys"],
        ["keys", "create"],
        ["keys", "list"],
        ["keys", "disable"],
    ],
    ids=" ".join,
)
def test_help_shows_usage(bert, command: list[str]) -> None:
    code, out, err = bert(*command, "--help")
    assert (code, err) == (0, "")
    assert out.startswith(" ".join(["Usage: bert", *command]))


def test_help_imports_no_heavy_package() -> None:
    code = (
        "import sys, cli.main\n"
        "try: cli.main.main(['run', '--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'tensorflow', 'tfx', 'ml_metadata', 'rich', 'pydantic_settings', 'psutil'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.strip()) == (0, "")


def test_help_names_every_bundled_config(bert) -> None:
    bundled = ", ".join(sorted(path.stem for path in CONFIGS.glob("*.toml")))
    assert f"a bundled config: {bundled}." in bert("run", "--help")[1]


def test_user_error_is_one_line_and_exits_with_2(bert) -> None:
    code, out, err = bert("config", "show", "--set", "trainer.epoch=3")
    assert (code, out) == (2, "")
    assert err == (
        "error: unknown config key trainer.epoch (--set trainer.epoch); "
        "did you mean trainer.epochs?\n"
    )


def test_unknown_option_exits_with_2(bert) -> None:
    code, _, err = bert("run", "--confg", "x")
    assert code == 2
    assert "No such option" in err


def break_run(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def run(*arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(local, "run", run)


def test_unexpected_error_names_a_log_with_the_traceback(bert, monkeypatch, options) -> None:
    break_run(monkeypatch, RuntimeError("boom\nand more"))
    code, _, err = bert("run", *options)
    assert code == 1
    assert err.count("\n") == 1
    assert err.startswith("error: unexpected RuntimeError")
    log = Path(err.split()[-1])
    assert "Traceback (most recent call last)" in log.read_text()
    assert "boom" in log.read_text()
    log.unlink()


def test_debug_shows_the_traceback(monkeypatch, options) -> None:
    break_run(monkeypatch, RuntimeError("boom"))
    with pytest.raises(RuntimeError, match="boom"):
        cli.main(["--debug", "run", *options])


def test_interrupt_exits_with_130(bert, monkeypatch, options) -> None:
    break_run(monkeypatch, KeyboardInterrupt())
    code, _, err = bert("run", *options)
    assert code == 130
    assert err.startswith("error: interrupted, the worker is stopped;")
    assert err.count("\n") == 1


def pretend_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, **outcome: object) -> dict:
    """Replace the runner by one that reports two nodes; return the arguments it was called with."""
    asked: dict = {}
    result = {"run_id": "r1", "state": "succeeded", "log": tmp_path / "log", "seconds": 2.0}

    def run(config, *, from_node, to_node, on_event) -> RunOutcome:
        asked.update(config=config, from_node=from_node, to_node=to_node)
        on_event({"event": "run_started", "run_id": "r1", "nodes": ["A", "B"], "log": "log"})
        on_event({"event": "node_started", "node": "A"})
        on_event({"event": "node_finished", "node": "A", "state": "ran", "seconds": 1.0})
        state = outcome.get("state", "succeeded")
        on_event({"event": "run_finished", "state": state, "seconds": 2.0})
        return RunOutcome(**{**result, **outcome})

    monkeypatch.setattr(local, "run", run)
    return asked


def test_run_passes_its_options_to_the_runner(bert, monkeypatch, tmp_path, options) -> None:
    asked = pretend_run(monkeypatch, tmp_path, state="failed")
    bert("run", *options, "--data", "a b.csv", "--from", "Trainer", "--to", "Pusher", "--no-cache")
    assert asked["config"].data.paths == ("a b.csv",)
    assert asked["config"].pipeline.cache is False
    assert (asked["from_node"], asked["to_node"]) == ("Trainer", "Pusher")
    files = [str(tmp_path / name) for name in ("a.csv", "b.csv")]
    for file in files:
        Path(file).write_text("text,label\nfine,good\n")
    bert("run", *options, "-d", files[0], "-d", files[1], "--set", "data.path=c.csv")
    assert asked["config"].data.paths == tuple(files)
    assert asked["config"].pipeline.cache is True


@pytest.mark.parametrize(
    ("content", "settings", "message"),
    [
        (None, [], "no such file or folder"),
        ("", [], "is empty"),
        ("words,label\nfine,good\n", [], "has no column 'text'"),
        ("text,label\nfine,good\n", ["--set", "data.slice_columns=['place']"], "place"),
    ],
)
def test_unusable_data_is_refused_before_the_run_starts(
    bert, monkeypatch, tmp_path, options, content: str | None, settings: list[str], message: str
) -> None:
    asked = pretend_run(monkeypatch, tmp_path, state="succeeded")
    data = tmp_path / "reviews.csv"
    if content is not None:
        data.write_text(content)
    code, out, err = bert("run", *options, *settings, "--data", str(data))
    assert (code, out, asked) == (2, "", {})
    assert err.count("\n") == 1
    assert message in err
    assert not (tmp_path / "root").exists()


def test_feedback_span_may_lack_columns(bert, monkeypatch, tmp_path, options) -> None:
    asked = pretend_run(monkeypatch, tmp_path, state="failed")
    data, spans = tmp_path / "reviews.csv", tmp_path / "spans"
    data.write_text("text,label,place\nfine,good,home\n")
    span = spans / "span-1" / "feedback.csv"
    span.parent.mkdir(parents=True)
    span.write_text("text,label\nfine,good\n")
    settings = [
        "--set",
        "data.slice_columns=['place']",
        "--set",
        f"feedback.spans={spans}",
    ]
    bert("run", *options, *settings, "--data", str(data), "--data", str(span))
    assert asked["config"].data.paths == (str(data), str(span))


def test_span_patterns_and_remote_data_are_not_checked(
    bert, monkeypatch, tmp_path, options
) -> None:
    asked = pretend_run(monkeypatch, tmp_path, state="failed")
    for path in (f"{tmp_path}/span-{{SPAN}}/*.csv", "gs://bucket/reviews.csv"):
        bert("run", *options, "--data", path)
        assert asked.pop("config").data.paths == (path,)


def test_run_prints_its_result_and_next_commands(
    bert, monkeypatch, tmp_path, options, add_run
) -> None:
    add_run("r1")
    (tmp_path / "serving" / "1").mkdir(parents=True)
    (tmp_path / "serving" / "1" / "saved_model.pb").touch()
    pretend_run(monkeypatch, tmp_path)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))  # the environment is activated
    code, out, err = bert("run", *options)
    assert (code, err) == (0, "")
    assert "A: ran in 1.0 s\n" in out
    assert "The candidate is blessed.\n" in out
    assert f"Pushed as version 1: {tmp_path}/serving/1\n" in out
    next_lines = out.partition("Next:\n")[2].splitlines()
    assert [line.split()[:2] for line in next_lines] == [["bert", "serve"], ["bert", "predict"]]
    assert f"--set pipeline.root={tmp_path}/root" in next_lines[1]
    assert "\x1b" not in out


@pytest.mark.parametrize(("user_error", "code"), [(True, 2), (False, 1)])
def test_failed_run_prints_its_error(
    bert, monkeypatch, tmp_path, options, user_error: bool, code: int
) -> None:
    pretend_run(
        monkeypatch, tmp_path, state="failed", error="label: unknown", user_error=user_error
    )
    found, out, err = bert("run", *options)
    assert found == code
    assert err == "error: label: unknown\n"
    assert "Run r1 failed in 2.0 s." in out


def test_runs_and_show_find_a_run(bert, options, add_run) -> None:
    add_run("r1")
    assert "r1" in bert("runs", *options)[1]
    assert "Trainer.model: /m/r1" in bert("show", *options)[1]
    code, _, err = bert("show", "r2", *options)
    assert code == 2
    assert "there is no run 'r2'" in err


def test_schema_is_shown_and_accepted(bert, options, add_run, config, tmp_path) -> None:
    add_run("r1")
    (tmp_path / "evaluation" / "r1" / "schema.pbtxt").write_text('feature { name: "text" }\n')
    assert 'feature { name: "text" }' in bert("schema", "show", *options)[1]
    assert "schema.pbtxt accepted" in bert("schema", "accept", *options)[1]
    assert config.schema_path().is_file()


def test_config_init_writes_a_config(bert, tmp_path, monkeypatch) -> None:
    sample = REPOSITORY / "data" / "sample" / "reviews.csv"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    code, out, _ = bert("config", "init", str(sample))
    assert code == 0
    assert "bert run --config reviews.toml" in out
    assert (tmp_path / "reviews.toml").is_file()


def test_predict_needs_a_pushed_model(bert, options) -> None:
    code, _, err = bert("predict", "hello", *options)
    assert code == 2
    assert "no model is pushed" in err


def test_predict_needs_a_text(bert, options) -> None:
    code, _, err = bert("predict", *options)
    assert code == 2
    assert "nothing to classify" in err


def test_data_error_is_a_user_error(bert, monkeypatch) -> None:
    import data.datasets

    def fetch(name: str, destination: Path, source_path: Path | None) -> None:
        raise DataError(f"{name} to {destination} from {source_path}")

    monkeypatch.setattr(data.datasets, "fetch", fetch)
    code, _, err = bert("data", "fetch", "imdb", "--from", "x.tar")
    assert (code, err) == (2, "error: imdb to data/imdb.csv from x.tar\n")


def test_doctor_fails_when_a_check_does(bert, monkeypatch, options) -> None:
    from cli import doctor

    checks = [doctor.Check("a", "ok", "fine"), doctor.Check("b", "warning", "so so")]
    monkeypatch.setattr(doctor, "examine", lambda config: iter(checks))
    code, out, _ = bert("doctor", *options)
    assert code == 0
    assert out.splitlines()[1].split() == ["a", "ok", "fine"]
    checks.append(doctor.Check("c", "failed", "bad"))
    assert bert("doctor", *options)[0] == 1
    assert '"state": "failed"' in bert("doctor", "--json", *options)[1]


def test_ctrl_c_stops_the_worker(tmp_path, options) -> None:
    command = [sys.executable, "-m", "cli.main", "run", *options]
    process = subprocess.Popen(
        command,
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background jobs ignore Ctrl-C, and so would what they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    workers: list[psutil.Process] = []
    deadline = time.monotonic() + 30
    while not workers and time.monotonic() < deadline and process.poll() is None:
        workers = psutil.Process(process.pid).children()
        time.sleep(0.05)
    assert workers, process.communicate()
    os.kill(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, (out, err)
    assert "Traceback" not in err
    assert not workers[0].is_running() or workers[0].status() == psutil.STATUS_ZOMBIE
