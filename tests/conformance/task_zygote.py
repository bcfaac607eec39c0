"""Process that has imported TensorFlow and TFX, and forks for each task.

A container's interpreter spends 15 s of CPU on imports; for eleven tasks, run twice, that would be
most of this suite's time. A fork has only the modules in advance: it gets the task's own arguments
as ``sys.argv``, its environment and its folder, and runs the module as ``__main__`` with ``runpy``,
as ``python -m`` does. A fork could hide a missing import; the tasks that the suite runs in their
own processes (``Tasks.fresh``) detect it.

Orders are JSON lines on standard input, {"words", "env", "folder", "log"}; the reply to each is the
exit code on a line of standard output.
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
    os.dup2(2, 1)  # output of imports must not mix with the replies
    for name in PRELOADED:
        __import__(name)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            os._exit(_run(json.loads(line)))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), file=answers, flush=True)


def _run(order: dict) -> int:
    """Run the task in this process, as ``python -m MODULE ARGUMENTS...``; return the exit code."""
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
