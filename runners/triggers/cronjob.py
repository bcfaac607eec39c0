"""A Kubernetes CronJob that polls in place of ``bert watch``, for a pipeline on another platform.

The manifest holds the config's values as arguments of ``bert watch --once --wait``, but no secrets:
those are keys of Kubernetes secrets.
"""

from modules.contract.errors import UserError
from pipeline.config import Config
from runners.kubeflow.platform import tolerations
from runners.remote.config_assignments import assignments
from runners.remote.pipeline_spec import JSON, into_image

#: Platforms whose runs it starts; Airflow has ``airflow.gated``.
RUNNERS = ("kubeflow", "vertex")
SUFFIXES = (".yaml", ".yml")
DATABASE_VARIABLE = "BERT__FEEDBACK__DATABASE_URL"
_SUFFIX = "-watch"
#: Kubernetes adds eleven characters for each job's name, which has 63 at most.
_LONGEST_NAME = 52
_HEAD = "# Made by `bert compile --cronjob`. For another config, image or schedule, make it anew.\n"


def check(config: Config, runner: str) -> None:
    """Refuse a config that could not poll, before anything slow is done.

    Args:
        config: the resolved configuration, which the platform's module has checked.
        runner: name of the platform.

    Raises:
        UserError: names the key, what is legal and what to type.
    """
    from pipeline.schedule import check_schedule

    if runner not in RUNNERS:
        hint = "; there, use --set airflow.gated=true" if runner == "airflow" else ""
        raise UserError(
            f"--cronjob: legal with --runner {' and '.join(RUNNERS)}; received {runner!r}{hint}"
        )
    longest = _LONGEST_NAME - len(_SUFFIX)
    if len(config.pipeline.name) > longest:
        raise UserError(
            f"pipeline.name: legal with --cronjob are {longest} characters at most; received "
            f"{config.pipeline.name!r}; try --set pipeline.name={config.pipeline.name[:longest]}"
        )
    if DATABASE_VARIABLE not in {secret.variable for secret in config.cronjob.secrets}:
        raise UserError(
            f"cronjob.secrets: legal is a list that gives {DATABASE_VARIABLE}, for decisions need "
            "a database and pods keep no files; try --set 'cronjob.secrets=[{secret = "
            f'"bert-database", key = "url", variable = "{DATABASE_VARIABLE}"}}]\''
        )
    spans = config.spans_directory()
    if config.triggers.feedback_examples and "://" in spans:
        raise UserError(
            "triggers.feedback_examples: legal with --cronjob is 0 where feedback.spans is no "
            "folder of a volume, for feedback that cannot be exported would start runs again and "
            f"again; received {config.triggers.feedback_examples} and {spans}; "
            "try --set triggers.feedback_examples=0"
        )
    check_schedule(config.triggers.schedule)
    check_schedule(config.cronjob.schedule, "cronjob.schedule")


def manifest(config: Config, runner: str) -> str:
    """The CronJob as YAML, the same for the same config.

    Args:
        config: the resolved configuration, checked.
        runner: name of the platform on which runs are started.
    """
    import yaml  # type: ignore[import-untyped]

    cronjob = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": config.pipeline.name + _SUFFIX},
        "spec": {
            "schedule": config.cronjob.schedule,
            "timeZone": "Etc/UTC",
            # A poll that waits for a submission delays the next one.
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": 300,
            "successfulJobsHistoryLimit": 1,
            "failedJobsHistoryLimit": 3,
            "jobTemplate": {
                "spec": {
                    # The next poll is the next try; triggers and brakes decide on it.
                    "backoffLimit": 0,
                    "activeDeadlineSeconds": 3600,
                    "template": {"spec": _pod(config, runner)},
                }
            },
        },
    }
    text: str = yaml.safe_dump(cronjob, sort_keys=False, width=100)
    return _HEAD + text


def _pod(config: Config, runner: str) -> JSON:
    """The pod; on Kubeflow it reaches what the nodes do."""
    own, kubeflow = config.cronjob, config.kubeflow
    on_kubeflow = runner == "kubeflow"
    account = own.service_account or (kubeflow.service_account if on_kubeflow else "")
    volumes = dict(kubeflow.volumes) if on_kubeflow else {}
    pod: JSON = {"restartPolicy": "Never"}
    if account:
        pod["serviceAccountName"] = account
    if on_kubeflow and kubeflow.image_pull_secrets:
        pod["imagePullSecrets"] = [{"name": name} for name in kubeflow.image_pull_secrets]
    if on_kubeflow and kubeflow.node_selector:
        pod["nodeSelector"] = dict(kubeflow.node_selector)
    if on_kubeflow and kubeflow.tolerations:
        pod["tolerations"] = tolerations(config)
    pod["securityContext"] = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    pod["containers"] = [_container(config, runner, volumes)]
    if volumes:
        pod["volumes"] = [
            {"name": f"volume-{number}", "persistentVolumeClaim": {"claimName": claim}}
            for number, claim in enumerate(volumes)
        ]
    return pod


def _container(config: Config, runner: str, volumes: dict[str, str]) -> JSON:
    cpu, memory = f"{config.resources.cpu:g}", f"{config.resources.memory_gb:g}G"
    container: JSON = {
        "name": "watch",
        "image": config.image.name,
        "workingDir": config.image.directory,
        "command": ["bert", "watch", "--once", "--wait"],
        # Kubernetes puts variables in the place of "$(NAME)"; "$$(" is the text itself.
        "args": [f"--set={each}".replace("$(", "$$(") for each in _assignments(config, runner)],
        "env": [
            {
                "name": secret.variable,
                "valueFrom": {"secretKeyRef": {"name": secret.secret, "key": secret.key}},
            }
            for secret in config.cronjob.secrets
        ],
        "resources": {"requests": {"cpu": cpu, "memory": memory}, "limits": {"memory": memory}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    if volumes:
        container["volumeMounts"] = [
            {"name": f"volume-{number}", "mountPath": path}
            for number, path in enumerate(volumes.values())
        ]
    return container


def _assignments(config: Config, runner: str) -> list[str]:
    """The config's values for the pod, in which files of the repository lie elsewhere."""
    change = into_image(config.image.directory)
    values = assignments(config, without=("airflow.", "cronjob.", "triggers.runner"))
    return [f'triggers.runner="{runner}"', *(change(value) for value in values)]
