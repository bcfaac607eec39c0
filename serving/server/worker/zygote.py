"""A process that has imported TensorFlow and only forks workers.

    python -m serving.server.worker.zygote CONTROL_FD FRONT_PID

A worker forked from it starts within milliseconds, and all workers share the memory of the
libraries. A process can be forked safely only while it has one thread and TensorFlow has not run,
so the zygote never creates a session or runs an op.

On the control socket, the front process sends one byte with the file descriptors of a new worker;
the response is the worker's process ID as JSON. When the socket is closed, the zygote ends.
"""

import ctypes
import gc
import json
import os
import signal
import socket
import sys
import types
import warnings

_PR_SET_PDEATHSIG = 1
_MOST_DESCRIPTORS = 128


def main(control_descriptor: int, front_pid: int) -> None:
    """Import TensorFlow, report ready, then fork a worker for each request.

    Args:
        control_descriptor: file descriptor of the inherited control socket.
        front_pid: process ID of the front process; the zygote ends with it.

    Raises:
        RuntimeError: the process has several threads after the import.
    """
    _die_with_parent(front_pid)
    control = socket.socket(fileno=control_descriptor)
    _import_tensorflow()
    if (threads := len(os.listdir("/proc/self/task"))) != 1:
        raise RuntimeError(f"the zygote has {threads} threads and cannot be forked safely")
    # Do not wait for children: the front process notices the end of a worker by its closed sockets.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    # Ctrl-C reaches the whole process group, but only the front process decides when workers end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.collect()
    gc.freeze()  # otherwise each worker's first collection would copy every page
    control.sendall(_message({"ready": True}))
    _serve(control)


def _serve(control: socket.socket) -> None:
    while True:
        data, descriptors, _, _ = socket.recv_fds(control, 1, _MOST_DESCRIPTORS)
        if not data:
            return
        pid = os.fork()
        if pid == 0:
            _become_worker(control, descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        control.sendall(_message({"pid": pid}))


def _become_worker(control: socket.socket, descriptors: list[int]) -> None:
    """Run a worker; do not return."""
    from serving.server.worker import worker

    status = 1
    try:
        control.close()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        worker.main([socket.socket(fileno=descriptor) for descriptor in descriptors])
        status = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        # Not sys.exit, because TensorFlow's threads may block the interpreter's clean-up.
        os._exit(status)


def _import_tensorflow() -> None:
    """Import what workers need, without Keras.

    TensorFlow Serving has no Keras, so an export that needs it must fail here too. TensorFlow
    imports Keras if it is installed, which takes as long as the rest of TensorFlow.
    tensorflow_text's Keras layers are replaced by an empty module, as its ops do not need them.
    """
    sys.modules["keras"] = sys.modules["tf_keras"] = None  # type: ignore[assignment]
    layers = "tensorflow_text.python.keras"
    sys.modules[layers] = types.ModuleType(layers)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # from third-party packages
        import tensorflow_text  # noqa: F401 - registers the tokeniser's ops

        from serving.server.worker import worker  # noqa: F401


def _die_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process when the thread that started it ends (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent_pid:  # the parent had already ended
            os._exit(1)


def _message(value: dict[str, object]) -> bytes:
    return json.dumps(value).encode() + b"\n"


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
