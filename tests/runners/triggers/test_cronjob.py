"""The CronJob of ``bert compile --cronjob``: its manifest, and the configs that it refuses."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.main import main
from modules.contract.errors import UserError
from pipeline.config import Config, load
from runners.kubeflow import platform as kubeflow
from runners.triggers import cronjob
from tests.cli.commands.test_compile import KUBEFLOW, VERTEX

DATABASE = (
    'cronjob.secrets=[{secret = "bert", key = "url", variable = "BERT__FEEDBACK__DATABASE_URL"}]'
)
PAGE = Path(__file__).parents[3] / "docs" / "triggers.md"


def config(*settings: str) -> Config:
    return load(None, [*KUBEFLOW, DATABASE, *settings], {})


def pod(manifest: str) -> dict[str, Any]:
    return yaml.safe_load(manifest)["spec"]["jobTemplate"]["spec"]["template"]["spec"]


def container(manifest: str) -> dict[str, Any]:
    [found] = pod(manifest)["containers"]
    return found


FULL = config(
    'kubeflow.node_selector={pool = "cpu"}',
    'kubeflow.tolerations=[{key = "team", operator = "Equal", value = "search"}]',
    'kubeflow.image_pull_secrets=["registry"]',
    "kubeflow.service_account=runner",
    "resources.memory_gb=0.5",
)


@pytest.mark.parametrize("version", ["1.29", "1.33"])
@pytest.mark.parametrize("settings", [config(), FULL], ids=["small", "full"])
@pytest.mark.parametrize("runner", cronjob.RUNNERS)
def test_manifest_matches_the_schema_of_kubernetes(
    settings: Config, version: str, runner: str
) -> None:
    kubernetes_validate = pytest.importorskip(
        "kubernetes_validate", reason="kubernetes-validate is not installed"
    )
    manifest = yaml.safe_load(cronjob.manifest(settings, runner))
    kubernetes_validate.validate(manifest, version, strict=True)
    manifest["spec"]["concurencyPolicy"] = "Forbid"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifest, version, strict=True)


def test_polls_neither_overlap_nor_repeat() -> None:
    spec = yaml.safe_load(cronjob.manifest(config(), "kubeflow"))["spec"]
    assert (spec["schedule"], spec["timeZone"]) == ("*/5 * * * *", "Etc/UTC")
    assert spec["concurrencyPolicy"] == "Forbid"
    assert spec["jobTemplate"]["spec"]["backoffLimit"] == 0


@pytest.mark.parametrize("runner", cronjob.RUNNERS)
def test_config_of_the_pod_is_the_compiled_one(
    runner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config("trainer.epochs=2", "triggers.schedule=@weekly", "airflow.retries=5")
    arguments = container(cronjob.manifest(settings, runner))["args"]
    assert all(argument.startswith("--set=") for argument in arguments)
    again = load(None, [argument.removeprefix("--set=") for argument in arguments], {})
    assert again.triggers.runner == runner
    differing = {
        name for name in Config.model_fields if getattr(again, name) != getattr(settings, name)
    }
    assert differing == {"triggers", "cronjob", "airflow"}
    assert again.triggers == settings.triggers.model_copy(update={"runner": runner})


def test_repository_paths_are_those_of_the_image(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    made = container(cronjob.manifest(config(f"data.path={tmp_path}/a.csv"), "kubeflow"))
    assert '--set=data.path="/opt/bert/a.csv"' in made["args"]
    assert made["workingDir"] == "/opt/bert"


def test_arguments_are_escaped_from_expansion_by_kubernetes() -> None:
    made = container(cronjob.manifest(config('data.text_column="$(TEXT)"'), "kubeflow"))
    assert '--set=data.text_column="$$(TEXT)"' in made["args"]


def test_manifest_holds_references_to_secrets_only() -> None:
    settings = config("feedback.database_url=postgresql://bert:s3cret@db/bert")
    manifest = cronjob.manifest(settings, "kubeflow")
    assert "s3cret" not in manifest
    [variable] = container(manifest)["env"]
    assert variable == {
        "name": "BERT__FEEDBACK__DATABASE_URL",
        "valueFrom": {"secretKeyRef": {"name": "bert", "key": "url"}},
    }


def test_pod_on_kubeflow_has_the_volumes_and_scheduling_of_nodes() -> None:
    made = pod(cronjob.manifest(FULL, "kubeflow"))
    [volume], [mount] = (
        made["volumes"],
        container(cronjob.manifest(FULL, "kubeflow"))["volumeMounts"],
    )
    assert volume["name"] == mount["name"]
    assert volume["persistentVolumeClaim"] == {"claimName": "claim"}
    assert mount["mountPath"] == "/models"
    assert made["serviceAccountName"] == "runner"
    assert made["nodeSelector"] == {"pool": "cpu"}
    assert made["tolerations"] == [{"key": "team", "operator": "Equal", "value": "search"}]
    assert made["imagePullSecrets"] == [{"name": "registry"}]


def test_pod_for_vertex_ignores_the_settings_of_kubeflow() -> None:
    made = pod(cronjob.manifest(FULL, "vertex"))
    assert set(made) == {"restartPolicy", "securityContext", "containers"}
    own = config("cronjob.service_account=watcher")
    assert pod(cronjob.manifest(own, "vertex"))["serviceAccountName"] == "watcher"


@pytest.mark.parametrize(
    ("runner", "settings", "words"),
    [
        ("airflow", (), "use --set airflow.gated=true"),
        (
            "kubeflow",
            ("cronjob.secrets=[]",),
            "cronjob.secrets: must set BERT__FEEDBACK__DATABASE_URL",
        ),
        ("kubeflow", ("cronjob.schedule=0 0 31 2 *",), "cronjob.schedule: must be"),
        (
            "vertex",
            ("triggers.feedback_examples=9",),
            "triggers.feedback_examples: must be 0 with --cronjob",
        ),
        ("vertex", ("triggers.schedule=0 0 31 2 *",), "triggers.schedule: must be"),
        ("kubeflow", (f"pipeline.name={'b' * 47}",), "at most 46 characters"),
    ],
)
def test_config_that_cannot_poll_is_refused(
    runner: str, settings: tuple[str, ...], words: str
) -> None:
    with pytest.raises(UserError, match=re.escape(words)) as caught:
        cronjob.check(config(*settings), runner)
    assert "\n" not in str(caught.value)


def test_longest_allowed_name_fits_kubernetes() -> None:
    settings = config(f"pipeline.name={'b' * 46}")
    cronjob.check(settings, "kubeflow")
    name = yaml.safe_load(cronjob.manifest(settings, "kubeflow"))["metadata"]["name"]
    assert len(name) == 52


def test_suggested_secret_is_accepted() -> None:
    with pytest.raises(UserError) as caught:
        cronjob.check(config("cronjob.secrets=[]"), "kubeflow")
    [suggestion] = re.findall(r"--set '([^']+)'", str(caught.value))
    cronjob.check(config(suggestion), "kubeflow")


@pytest.mark.parametrize("place", ["job.json", "job"])
def test_other_suffix_is_refused_before_anything_is_written(
    place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [f"--set={setting}" for setting in (*KUBEFLOW, DATABASE)]
    output = tmp_path / "pipeline.yaml"
    words = ["compile", "--runner=kubeflow", f"--output={output}", f"--cronjob={tmp_path / place}"]
    with pytest.raises(SystemExit) as ended:
        main([*words, *options])
    assert ended.value.code == 2
    assert "--cronjob must end in .yaml" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_page_shows_the_manifest_that_is_written() -> None:
    """The manifest in docs/triggers.md belongs to the config above it."""
    [(settings, shown)] = re.findall(
        r"`kubeflow\.toml`.*?```toml\n(.*?)```.*?```yaml\n(.*?)```", PAGE.read_text("utf-8"), re.S
    )
    values = tomllib.loads(settings)
    assignments = [
        f"{section}.{key}={_toml(value)}"
        for section, table in values.items()
        for key, value in table.items()
    ]
    written = load(None, assignments, {})
    kubeflow.check(written)
    cronjob.check(written, "kubeflow")
    assert cronjob.manifest(written, "kubeflow") == shown


def _toml(value: object) -> str:
    from pipeline.toml_text import toml_value

    return toml_value(value)


def test_manifest_is_made_from_settings_of_vertex() -> None:
    settings = load(None, [*VERTEX, DATABASE], {})
    cronjob.check(settings, "vertex")
    assert container(cronjob.manifest(settings, "vertex"))["image"].startswith("registry.example")
