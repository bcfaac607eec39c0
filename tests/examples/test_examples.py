"""Every file in ``examples/`` runs with a served model and prints the expected output."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving.bert_server import BertServer, bert_serve, environment, write_classifier

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
ANSWERS = ["positive\tA good film.", "negative\tA bad hotel."]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_classifier(folder / "1")
    return folder


@pytest.fixture(scope="module")
def server(models: Path) -> Iterator[BertServer]:
    config = models / "models.txt"
    config.write_text(
        f'model_config_list {{ config {{ name: "films" base_path: "{models}" '
        'model_platform: "tensorflow" version_labels { key: "stable" value: 1 } } }'
    )
    options = [f"--model_config_file={config}"]
    options.append("--allow_version_labels_for_unavailable_models=true")
    with bert_serve(*options, folder=models) as server:
        yield server


def run(name: str, *arguments: str, code: int = 0) -> str:
    program = "bash" if name.endswith(".sh") else sys.executable
    done = subprocess.run(
        [program, str(EXAMPLES / name), *arguments],
        env=environment() | {"PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 77:
        pytest.skip(done.stderr.strip())
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code == 0 else done.stderr


def answers(output: str) -> list[str]:
    rows = [line.split("\t") for line in output.splitlines() if line.count("\t") == 2]
    assert all(float(score) > 0.5 for _, score, _ in rows)
    return [f"{label}\t{text}" for label, _, text in rows]


def documents(output: str) -> list[dict]:
    text = "\n".join(line for line in output.splitlines() if not line.startswith("#"))
    decoder, found, position = json.JSONDecoder(), [], 0
    while text[position:].strip():
        position += len(text[position:]) - len(text[position:].lstrip())
        document, length = decoder.raw_decode(text[position:])
        found.append(document)
        position += length
    return found


def test_every_example_is_tested() -> None:
    tested = Path(__file__).read_text("utf-8")
    assert [path.name for path in EXAMPLES.iterdir() if f'"{path.name}"' not in tested] == []


def test_curl_example_predicts(server: BertServer) -> None:
    status, rows, columns = documents(run("curl.sh", server.rest, "films"))
    assert status["model_version_status"][0]["state"] == "AVAILABLE"
    assert [row["label"] for row in rows["predictions"]] == ["positive", "negative"]
    assert columns["outputs"]["label"] == ["positive", "negative"]


def test_rest_client_example_predicts(server: BertServer) -> None:
    assert answers(run("rest_client.py", server.rest, "films")) == ANSWERS
    assert "404: Servable not found" in run("rest_client.py", server.rest, "nope", code=1)


def test_grpc_client_example_predicts(server: BertServer) -> None:
    address = server.grpc.removeprefix("grpc://")
    assert answers(run("grpc_client.py", address, "films")) == ANSWERS
    assert "NOT_FOUND: Servable not found" in run("grpc_client.py", address, "nope", code=1)


def test_grpcurl_request_is_valid(server: BertServer, tmp_path: Path) -> None:
    """Like grpcurl, parse the script's JSON with the written descriptors and send it."""
    import grpc
    from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

    run("write_descriptors.py", str(tmp_path / "descriptors"))
    files = descriptor_pb2.FileDescriptorSet.FromString((tmp_path / "descriptors").read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    service = pool.FindServiceByName("tensorflow.serving.PredictionService")
    assert len(service.methods) == 5
    method = service.FindMethodByName("Predict")
    request_class = message_factory.GetMessageClass(method.input_type)
    response_class = message_factory.GetMessageClass(method.output_type)
    script = (EXAMPLES / "grpcurl.sh").read_text("utf-8")
    document = script.partition("<<JSON\n")[2].partition("\nJSON\n")[0]
    request = json_format.Parse(document.replace("$model", "films"), request_class())
    with grpc.insecure_channel(server.grpc.removeprefix("grpc://")) as channel:
        call = channel.unary_unary(
            "/tensorflow.serving.PredictionService/Predict",
            request_serializer=request_class.SerializeToString,
            response_deserializer=response_class.FromString,
        )
        response = call(request, timeout=30)
    assert list(response.outputs["label"].string_val) == [b"positive", b"negative"]


def test_grpcurl_example_predicts(server: BertServer) -> None:
    output = json.loads(run("grpcurl.sh", server.grpc.removeprefix("grpc://"), "films"))
    assert len(output["outputs"]["label"]["stringVal"]) == 2


@pytest.mark.parametrize("transport", ["rest", "grpc"])
def test_client_library_example_predicts(server: BertServer, models: Path, transport: str) -> None:
    url = server.value("REST" if transport == "rest" else "gRPC")
    output = run("client_library.py", url, "films", str(models))
    assert output.startswith("version 1 is AVAILABLE\n")
    assert answers(output) == ANSWERS
    assert "  {'negative': 0." in output
    assert "best of 2000: 0." in output


@pytest.mark.parametrize("transport", ["rest", "grpc"])
def test_label_selects_its_version(server: BertServer, transport: str) -> None:
    from serving.client import Client, ClientError

    url = server.value("REST" if transport == "rest" else "gRPC")
    with Client(url, model="films", label="stable") as client:
        assert client.metadata().version == 1
        assert client.predict(["good"])[0].label == "positive"
        outputs = client.predict_tensors({"text": ["bad"]}, outputs=["label"])
        assert outputs["label"].tolist() == [b"negative"]
    with Client(url, model="films", label="nope") as client, pytest.raises(ClientError):
        client.predict(["good"])
