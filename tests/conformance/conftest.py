"""Fixtures for one small pipeline, run by ``bert run`` and by both backends."""

import dataclasses
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.backends import Backend, KubeflowBackend, TaskRun, VertexBackend
from tests.conformance.task_processes import Tasks, TaskZygote
from tests.e2e.conftest import SAMPLE, Workplace, take_rows
from tests.runners.vertex.prediction_api import PredictionApi
from tests.tiny_bert import write_tiny_bert

IMAGE = "registry.example.com/bert:0123abc"
SERVING_IMAGE = "europe-west1-docker.pkg.dev/shop/serving/tensorflow:2.19.1"


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """Create the image's working directory: a folder with 200 rows and the tiny encoder."""
    folder = tmp_path_factory.mktemp("conformance")
    write_tiny_bert(folder / "encoder")
    take_rows(SAMPLE, folder / "reviews.csv", 200)
    settings = {
        "data.path": "reviews.csv",
        "data.slice_columns": '["domain"]',
        "pusher.base_directory": "models",
        "trainer.encoder": "encoder",
        "trainer.max_length": "32",
        "trainer.epochs": "1",
        "evaluator.floors": '[{metric = "accuracy", min = 0.0}]',
    }
    return Workplace(folder, settings)


@dataclasses.dataclass
class Platform:
    """A platform, the pipeline compiled for it, and its first run.

    Attributes:
        name: "vertex" or "kubeflow".
        backend: executes the pipeline by the platform's rules.
        place: folder and settings of the pipeline.
        endpoints: API to which Vertex's Pusher deploys models; None on Kubeflow.
        text: the compiled pipeline.
        first: the first run, by task.
    """

    name: str
    backend: Backend
    place: Workplace
    endpoints: PredictionApi | None = None
    text: str = ""
    first: dict[str, TaskRun] = dataclasses.field(default_factory=dict)

    def compile(self, **settings: str) -> str:
        """Run ``bert compile`` in the workplace, and return the compiled pipeline."""
        title = hashlib.sha256(repr(settings).encode()).hexdigest()[:8] if settings else ""
        file = self.place.folder / f"{self.name}{title}{self.ending}"
        done = self.place.bert(
            "compile",
            f"--runner={self.name}",
            f"--output={file}",
            image__name=IMAGE,
            image__directory=str(self.place.folder),
            **{**self.settings, **settings},
        )
        assert done.returncode == 0, done.stdout
        return file.read_text()

    @property
    def ending(self) -> str:
        return ".yaml" if self.name == "kubeflow" else ".json"

    @property
    def models(self) -> Path:
        """Folder of the pushed versions."""
        if self.name == "kubeflow":
            return self.place.folder / "volume" / "models"
        return self.backend.path("gs://bucket/models")

    @property
    def settings(self) -> dict[str, str]:
        if self.name == "vertex":
            endpoint = {}
            if self.endpoints:
                endpoint = {
                    "vertex__project": "shop",
                    "vertex__api_endpoint": self.endpoints.url,
                    "vertex__endpoint": "reviews",
                    "vertex__endpoint_image": SERVING_IMAGE,
                }
            return {
                "pipeline__root": "gs://bucket/bert",
                "pusher__base_directory": "gs://bucket/models",
                **endpoint,
            }
        volume = self.place.folder / "volume"
        return {
            "pipeline__root": "minio://mlpipeline/bert",
            "pusher__base_directory": f"{volume}/models",
            "kubeflow__volumes": f'{{claim = "{volume}"}}',
        }


@pytest.fixture(scope="session")
def zygote() -> Iterator[TaskZygote]:
    """Start the process that forks for the tasks of every platform."""
    zygote = TaskZygote()
    yield zygote
    zygote.close()


@pytest.fixture(scope="session", params=["vertex", "kubeflow"])
def platform(
    request: pytest.FixtureRequest, place: Workplace, zygote: TaskZygote
) -> Iterator[Platform]:
    """Run the pipeline once on a platform.

    ExampleGen runs in its own process; the other tasks are forks (see ``task_zygote``).
    """
    tasks = Tasks(place.folder, zygote, fresh={"ExampleGen"})
    folder = place.folder / f"on-{request.param}"
    if request.param == "kubeflow":
        yield _run_once(Platform("kubeflow", KubeflowBackend(folder, tasks), place))
    else:
        with PredictionApi(polls=1) as endpoints:
            backend = VertexBackend(folder, tasks)
            yield _run_once(Platform("vertex", backend, place, endpoints))


def _run_once(platform: Platform) -> Platform:
    platform.text = platform.compile()
    platform.first = platform.backend.run(platform.text)
    return platform


@pytest.fixture(scope="session")
def local(place: Workplace) -> Workplace:
    """Run the same pipeline with ``bert run``."""
    place.run()
    return place
