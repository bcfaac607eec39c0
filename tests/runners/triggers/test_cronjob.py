"""The CronJob that ``bert compile --cronjob`` writes: its manifest, and what is refused."""

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
def test_manifest_is_of_kubernetes_schema(settings: Config, version: str, runner: str) -> None:
    kubernetes_validate = pytest.importorskip(
        "kubernetes_validate", reason="kubernetes-validate is not installed"
    )
    manifest = yaml.safe_load(cronjob.manifest(settings, runner))
    kubernetes_validate.validate(manifest, version, strict=True)
    manifest["spec"]["concurencyPolicy"] = "Forbid"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifest, version, strict=True)


def test_one_look_at_a_time_and_none_is_repeated() -> None:
    spec = yaml.safe_load(cronjob.manifest(config(), "kubeflow"))["spec"]
    assert (spec["schedule"], spec["timeZone"]) == ("*/5 * * * *", "Etc/UTC")
    assert spec["concurrencyPolicy"] == "Forbid"
    assert spec["jobTemplate"]["spec"]["backoffLimit"] == 0


@pytest.mark.parametrize("runner", cronjob.RUNNERS)
def test_the_pods_config_is_the_compiled_one(runner: str, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_files_of_the_repository_are_those_of_the_image(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    made = container(cronjob.manifest(config(f"data.path={tmp_path}/a.csv"), "kubeflow"))
    assert '--set=data.path="/opt/bert/a.csv"' in made["args"]
    assert made["workingDir"] == "/opt/bert"


def test_kubernetes_expands_nothing_in_the_arguments() -> None:
    made = container(cronjob.manifest(config('data.text_column="$(TEXT)"'), "kubeflow"))
    assert '--set=data.text_column="$$(TEXT)"' in made["args"]


def test_secrets_are_references_alone() -> None:
    settings = config("feedback.database_url=postgresql://bert:s3cret@db/bert")
    manifest = cronjob.manifest(settings, "kubeflow")
    assert "s3cret" not in manifest
    [variable] = container(manifest)["env"]
    assert variable == {
        "name": "BERT__FEEDBACK__DATABASE_URL",
        "valueFrom": {"secretKeyRef": {"name": "bert", "key": "url"}},
    }


def test_on_kubeflow_the_pod_reaches_what_nodes_do() -> None:
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


def test_for_vertex_kubeflows_settings_do_not_count() -> None:
    made = pod(cronjob.manifest(FULL, "vertex"))
    assert set(made) == {"restartPolicy", "securityContext", "containers"}
    own = config("cronjob.service_account=watcher")
    assert pod(cronjob.manifest(own, "vertex"))["serviceAccountName"] == "watcher"


@pytest.mark.parametrize(
    ("runner", "settings", "words"),
    [
        ("airflow", (), "use --set airflow.gated=true"),
        ("kubeflow", ("cronjob.secrets=[]",), "cronjob.secrets: legal is a list that gives"),
        ("kubeflow", ("cronjob.schedule=0 0 31 2 *",), "cronjob.schedule: must be"),
        ("vertex", ("triggers.feedback_examples=9",), "triggers.feedback_examples: legal"),
        ("vertex", ("triggers.schedule=0 0 31 2 *",), "triggers.schedule: must be"),
        ("kubeflow", (f"pipeline.name={'b' * 47}",), "46 characters at most"),
    ],
)
def test_what_could_not_look_is_refused(runner: str, settings: tuple[str, ...], words: str) -> None:
    with pytest.raises(UserError, match=re.escape(words)) as caught:
        cronjob.check(config(*settings), runner)
    assert "\n" not in str(caught.value)


def test_the_longest_name_is_legal_there() -> None:
    settings = config(f"pipeline.name={'b' * 46}")
    cronjob.check(settings, "kubeflow")
    name = yaml.safe_load(cronjob.manifest(settings, "kubeflow"))["metadata"]["name"]
    assert len(name) == 52


def test_the_suggested_secret_is_legal() -> None:
    with pytest.raises(UserError) as caught:
        cronjob.check(config("cronjob.secrets=[]"), "kubeflow")
    [suggestion] = re.findall(r"--set '([^']+)'", str(caught.value))
    cronjob.check(config(suggestion), "kubeflow")


@pytest.mark.parametrize("place", ["job.json", "job"])
def test_another_ending_is_refused_before_anything_is_written(
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


def test_the_page_shows_what_is_written() -> None:
    """The manifest in docs/triggers.md is that of the config above it."""
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


def test_vertex_settings_compile_too() -> None:
    settings = load(None, [*VERTEX, DATABASE], {})
    cronjob.check(settings, "vertex")
    assert container(cronjob.manifest(settings, "vertex"))["image"].startswith("registry.example")
