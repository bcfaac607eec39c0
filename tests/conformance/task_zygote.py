"""A process that has imported TensorFlow and TFX, and forks for each task it is told to run.

A container's interpreter starts from nothing and spends 15 s of CPU on imports; eleven tasks,
twice, would spend most of this suite there. The fork has the modules already and nothing else: it
gets the task's own words as ``sys.argv``, its environment and its folder, and runs the module as
``__main__`` by ``runpy``, as ``python -m`` does. What a fork could hide, a module that is not
imported by who needs it, is seen by the tasks that the suite runs as processes of their own
(``Tasks.fresh``).

Orders come as JSON lines on standard input, {"words", "env", "folder", "log"}; each is answered by
the exit code on a line of standard output.
"""

import json
import os
import runpy
import sys
import traceback

PRELOADED = (
    "tfx.orchestration.kubeflow.v2.container.kubeflow_v2_run_executor",
    "tensorflow_text",
    "components.ingestion.executor",
    "components.ingestion.driver",
    "components.evaluation.analysis",
    "components.infra_validator",
    "components.pusher",
    "components.deployed_model",
    "tfx.components.statistics_gen.executor",
    "tfx.components.schema_gen.executor",
    "tfx.components.example_validator.executor",
    "tfx.components.transform.executor",
    "tfx.components.trainer.executor",
    "modules.preprocessing",
    "modules.training",
)


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what imports print is no answer
    for name in PRELOADED:
        __import__(name)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            os._exit(_run(json.loads(line)))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), file=answers, flush=True)


def _run(order: dict) -> int:
    """Be the task: ``python -m MODULE ARGUMENTS...``."""
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["env"])
    _, _, module, *arguments = order["words"]
    sys.argv = [module, *arguments]
    code = 1
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as error:
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
        code = 0 if error.code is None else error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    return code


if __name__ == "__main__":
    main()
