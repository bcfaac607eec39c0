"""The calls in docs/serving.md run unchanged with a served model.

Only the ports differ: the page has TensorFlow Serving's, the test uses free ones.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.test_commands import ALL_BLOCKS
from tests.serving.bert_server import BertServer, bert_serve, environment, write_classifier

PAGE = Path(__file__).resolve().parents[2] / "docs" / "serving.md"
OURS = [block for block in ALL_BLOCKS if Path(__file__).name in block.skip_reason]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    write_classifier(folder / "serving_models" / "bert" / "2")
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[BertServer]:
    with bert_serve(folder=folder) as server:
        yield server


def with_ports(text: str, server: BertServer) -> str:
    text = text.replace("http://127.0.0.1:8501", server.rest)
    return text.replace("grpc://127.0.0.1:8500", server.grpc)


def run(command: list[str], folder: Path) -> str:
    done = subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("block", OURS, ids=str)
def test_shown_command_works(block, server: BertServer, folder: Path) -> None:
    script = with_ports(block.text, server)
    output = run(["bash", "-euo", "pipefail", "-c", script], folder)
    if "--json" in script:
        answers = [json.loads(line) for line in (folder / "answers.jsonl").open()]
        assert [answer["label"] for answer in answers] == ["positive", "negative"]
        assert set(answers[0]["scores"]) == {"negative", "positive"}
    elif "predict" in script:
        assert "positive" in output
    elif "metrics" in script:
        assert ":tensorflow:serving:request_count" in output


def test_shown_python_works(server: BertServer, folder: Path) -> None:
    [program] = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.M | re.S)
    output = run([sys.executable, "-c", with_ports(program, server)], folder)
    assert re.match(r"positive 0\.\d+ \{'negative': .*\}\nnegative ", output), output


def test_shown_model_config_is_read(tmp_path: Path) -> None:
    from serving.server.versions import model_config

    [text] = re.findall(
        r"^```text\n(model_config_list.*?)^```", PAGE.read_text("utf-8"), re.M | re.S
    )
    (tmp_path / "models.txt").write_text(text)
    proto = model_config.read_file(str(tmp_path / "models.txt"))
    assert dict(model_config.from_proto(proto)["default"].labels) == {"stable": 1, "canary": 2}
