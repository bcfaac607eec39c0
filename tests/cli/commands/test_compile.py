"""Refusals of ``bert compile`` and ``bert submit``: immediate, and in one line."""

import re
from pathlib import Path

import pytest

from cli.main import main
from pipeline.config import load
from runners.remote.platform import platform

IMAGE = "image.name=registry.example.com/bert:0123abc"
VERTEX = [IMAGE, "pipeline.root=gs://bucket/bert", "pusher.base_directory=gs://bucket/models"]
WORKERS = [
    "vertex.training_workers=2",
    "vertex.training_machine_type=n1-standard-8",
    "vertex.project=shop",
]
ENDPOINT = [
    "vertex.endpoint=reviews",
    "vertex.endpoint_image=europe-west1-docker.pkg.dev/shop/serving/tensorflow:2.19.1",
    "vertex.project=shop",
]
KUBEFLOW = [
    IMAGE,
    "pipeline.root=s3://bucket/bert",
    'kubeflow.volumes={claim = "/models"}',
    "pusher.base_directory=/models/bert",
]


def refusal(capsys: pytest.CaptureFixture[str], *words: str, settings: list[str]) -> str:
    """Run a command that must end with exit code 2; return its one line on standard error."""
    with pytest.raises(SystemExit) as end:
        main([*words, *(f"--set={setting}" for setting in settings)])
    assert end.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    [line] = captured.err.splitlines()
    return line


@pytest.mark.parametrize("command", ["compile", "submit"])
@pytest.mark.parametrize(
    ("name", "guess"), [("kubflow", "--runner kubeflow"), ("vertx", "--runner vertex")]
)
def test_unknown_runner_names_the_nearest(
    capsys: pytest.CaptureFixture[str], command: str, name: str, guess: str
) -> None:
    assert f"did you mean {guess}?" in refusal(capsys, command, f"--runner={name}", settings=[])


def test_local_runner_points_to_bert_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert "bert run" in refusal(capsys, "compile", "--runner=local", settings=[])


@pytest.mark.parametrize("runner", ["kubeflow", "vertex"])
@pytest.mark.parametrize(
    ("image", "words"),
    [
        ("", "image.name is empty"),
        ("registry.example.com/bert", "a fixed tag or a digest"),
        ("registry.example.com/bert:latest", "a fixed tag or a digest"),
        ("localhost:5000/bert", "a fixed tag or a digest"),
        ("not an image", "a fixed tag or a digest"),
    ],
)
def test_image_must_be_fixed(
    capsys: pytest.CaptureFixture[str], runner: str, image: str, words: str
) -> None:
    line = refusal(capsys, "compile", f"--runner={runner}", settings=[f"image.name={image}"])
    assert words in line
    assert "--set image.name=" in line


def test_image_of_a_node_must_be_fixed_too(capsys: pytest.CaptureFixture[str]) -> None:
    settings = [*VERTEX, 'image.nodes={Trainer = "registry.example.com/bert:latest"}']
    line = refusal(capsys, "compile", "--runner=vertex", settings=settings)
    assert "image.nodes.Trainer" in line


def test_image_of_an_unknown_node_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    settings = [*VERTEX, 'image.nodes={Trainr = "registry.example.com/bert:1"}']
    line = refusal(capsys, "compile", "--runner=vertex", settings=settings)
    assert "did you mean Trainer?" in line


@pytest.mark.parametrize(
    ("runner", "settings", "key"),
    [
        ("vertex", [*VERTEX, "pipeline.root=pipeline_root"], "pipeline.root"),
        ("vertex", [*VERTEX, "pipeline.root=s3://bucket/bert"], "pipeline.root"),
        ("vertex", [*VERTEX, "pipeline.root=gs://"], "pipeline.root"),
        ("vertex", [*VERTEX, "pusher.base_directory=models"], "pusher.base_directory"),
        ("vertex", [*VERTEX, "data.path=/data/reviews.csv"], "data.path"),
        ("vertex", [*VERTEX, "feedback.spans=/models/feedback"], "feedback.spans"),
        ("vertex", [*VERTEX, "pipeline.name=My_Bert"], "pipeline.name"),
        ("vertex", [*VERTEX, "resources.accelerator=nvidia.com/gpu"], "resources.accelerator"),
        ("vertex", [*VERTEX, "resources.nodes={Traner = {cpu = 1}}"], "resources.nodes"),
        ("vertex", [*VERTEX, "schema.path=/data/schema.pbtxt"], "schema.path"),
        ("vertex", [*VERTEX, "schema.path=gs://bucket/schema.pbtxt"], "schema.path"),
        ("vertex", [*VERTEX, "trainer.encoder=/data/encoder"], "trainer.encoder"),
        ("vertex", [*VERTEX, "infra_validator.server=docker"], "infra_validator.server"),
        ("vertex", [*VERTEX, *WORKERS, "vertex.project="], "vertex.project"),
        ("vertex", [*VERTEX, *WORKERS, "trainer.xla=true"], "trainer.xla"),
        (
            "vertex",
            [*VERTEX, *WORKERS, "vertex.training_machine_type="],
            "vertex.training_machine_type",
        ),
        (
            "vertex",
            [
                *VERTEX,
                *WORKERS,
                "resources.accelerator=NVIDIA_L4",
                "resources.accelerator_count=2",
            ],
            "resources.accelerator_count",
        ),
        ("vertex", [*VERTEX, *ENDPOINT, "vertex.project="], "vertex.project"),
        ("vertex", [*VERTEX, *ENDPOINT, "vertex.endpoint_image="], "vertex.endpoint_image"),
        (
            "vertex",
            [*VERTEX, *ENDPOINT, "vertex.endpoint_image=tensorflow/serving:2.19.1"],
            "vertex.endpoint_image",
        ),
        (
            "vertex",
            [*VERTEX, *ENDPOINT, "vertex.endpoint_image=eu-docker.pkg.dev/shop/serving/tf:latest"],
            "vertex.endpoint_image",
        ),
        (
            "vertex",
            [*VERTEX, *ENDPOINT, "vertex.endpoint=projects/1/locations/asia-east1/endpoints/2"],
            "vertex.endpoint",
        ),
        ("vertex", [*VERTEX, *ENDPOINT, "vertex.endpoint=a/b"], "vertex.endpoint"),
        (
            "vertex",
            [*VERTEX, *ENDPOINT, "vertex.endpoint_min_replicas=2"],
            "[vertex] endpoint_max_replicas",
        ),
        ("kubeflow", [*KUBEFLOW, "infra_validator.server=kubernetes"], "infra_validator.server"),
        ("kubeflow", [*KUBEFLOW, "trainer.encoder=hf:///data/encoder"], "trainer.encoder"),
        ("kubeflow", [*KUBEFLOW, "pipeline.root=/data/root"], "pipeline.root"),
        ("kubeflow", [*KUBEFLOW, "pusher.base_directory=s3://bucket/m"], "pusher.base_directory"),
        ("kubeflow", [*KUBEFLOW, "data.path=../reviews.csv"], "data.path"),
        ("kubeflow", [*KUBEFLOW, "feedback.spans=feedback"], "feedback.spans"),
        ("kubeflow", [*KUBEFLOW, "feedback.spans=s3://bucket/feedback"], "feedback.spans"),
        ("kubeflow", [*KUBEFLOW, "resources.accelerator=NVIDIA_L4"], "resources.accelerator"),
    ],
)
@pytest.mark.parametrize("command", ["compile", "submit"])
def test_settings_that_nodes_cannot_reach_or_run_are_refused(
    capsys: pytest.CaptureFixture[str], command: str, runner: str, settings: list[str], key: str
) -> None:
    assert refusal(capsys, command, f"--runner={runner}", settings=settings).startswith(
        f"error: {key}"
    )


@pytest.mark.parametrize(
    "image",
    [
        "us-docker.pkg.dev/vertex-ai/prediction/tf2-gpu.2-15:latest",
        "us-docker.pkg.dev/vertex-ai-restricted/prediction/tf_opt-cpu.2-17:latest",
        "eu.gcr.io/shop/tensorflow-serving:2.19.1",
        f"europe-west1-docker.pkg.dev/shop/serving/tensorflow@sha256:{'0' * 64}",
    ],
)
def test_image_that_an_endpoint_can_serve_is_accepted(image: str) -> None:
    settings = [*VERTEX, *ENDPOINT, f"vertex.endpoint_image={image}"]
    platform("vertex").check(load(assignments=settings, environ={}))


@pytest.mark.parametrize(
    "setting",
    [
        "trainer.encoder=/models/encoder",
        "trainer.encoder=hf:///models/encoder",
        "trainer.encoder=encoders/mine",
        "trainer.encoder=keras://bert_tiny_en_uncased",
        "schema.path=schemas/schema.pbtxt",
        "data.path=/models/data/reviews.csv",
        "data.path=gs://bucket/reviews.csv",
    ],
)
def test_settings_that_nodes_can_reach_are_accepted(setting: str) -> None:
    platform("kubeflow").check(load(assignments=[*KUBEFLOW, setting], environ={}))


@pytest.mark.parametrize(
    ("runner", "settings", "name"),
    [("kubeflow", KUBEFLOW, "pipeline.json"), ("vertex", VERTEX, "pipeline.yaml")],
)
def test_output_file_needs_the_platforms_suffix(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, runner: str, settings: list[str], name: str
) -> None:
    file = tmp_path / name
    line = refusal(capsys, "compile", f"--runner={runner}", f"--output={file}", settings=settings)
    assert "--output" in line
    assert not file.exists()


def test_submitting_needs_the_host_or_project(capsys: pytest.CaptureFixture[str]) -> None:
    assert "kubeflow.host is empty" in refusal(
        capsys, "submit", "--runner=kubeflow", settings=KUBEFLOW
    )
    assert "vertex.project is empty" in refusal(
        capsys, "submit", "--runner=vertex", settings=VERTEX
    )


@pytest.mark.parametrize("runner", ["kubeflow", "vertex"])
def test_documented_config_is_legal(tmp_path: Path, runner: str) -> None:
    name = {"kubeflow": "kubeflow.md", "vertex": "vertex-ai.md"}[runner]
    page = Path(__file__).resolve().parents[3] / "docs" / "platforms" / name
    pattern = rf"`{runner}\.toml`:\n\n```toml\n(.*?)```"
    [text] = re.findall(pattern, page.read_text("utf-8"), re.DOTALL)
    text = re.sub(r"\b(REGION|PROJECT|REPOSITORY)\b", "example", text)
    file = tmp_path / f"{runner}.toml"
    file.write_text(text)
    platform(runner).check(load(file, environ={}))
