"""Can this machine run the pipeline? One check a line, each with what to do about a failure.

TensorFlow is asked in a process of its own: importing it takes seconds and may crash outright on a
processor or a driver that does not suit it, which is just what a check should survive.
"""

import dataclasses
import importlib.metadata
import json
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import psutil

from modules.fit.precision import cpu_flags
from pipeline.config import Config
from serving.server.usable_cpus import usable_cpus

State = Literal["ok", "warning", "failed"]

#: Python version -> the stack that is supported on it.
STACKS: dict[tuple[int, int], dict[str, str]] = {
    (3, 11): {"tfx": "1.16.0", "tensorflow": "2.16.2", "tensorflow-text": "2.16.1"},
    (3, 12): {"tfx": "1.21.0", "tensorflow": "2.21.0", "tensorflow-text": "2.21.1"},
    (3, 13): {"tfx": "1.21.0", "tensorflow": "2.21.0", "tensorflow-text": "2.21.1"},
}
#: Oldest glibc that TFX 1.21's ml-metadata and tfdv wheels run on.
_NEW_STACK_GLIBC = (2, 39)
_GIB = 2**30
_DISK_GIB = (2, 10)
_MEMORY_GIB = (3, 6)
_PROBE_SECONDS = 180
_CPU_FLAGS = {"avx512_bf16": "AVX512_BF16", "amx_bf16": "AMX"}

_PROBE = """
import json, sys
found = {}
try:
    import tensorflow as tf
    import tensorflow_text
    found["tensorflow"] = tf.__version__
    found["gpus"] = [
        tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name)
        for gpu in tf.config.list_physical_devices("GPU")
    ]
except Exception as error:
    found["tensorflow_error"] = f"{type(error).__name__}: {error}"
try:
    import tensorboard
    found["tensorboard"] = tensorboard.__version__
except Exception as error:
    found["tensorboard_error"] = f"{type(error).__name__}: {error}"
if "tensorflow" in found:
    try:
        from modules.encoders.names import load_encoder
        found["encoder"] = load_encoder(sys.argv[1]).fingerprint
    except Exception as error:
        found["encoder_error"] = str(error) or type(error).__name__
print(json.dumps(found))
"""


@dataclasses.dataclass(frozen=True)
class Check:
    """One answer.

    Attributes:
        name: what was looked at.
        state: "failed" means that a run cannot succeed.
        detail: what was found and, if not "ok", what to do.
    """

    name: str
    state: State
    detail: str


def examine(config: Config) -> Iterator[Check]:
    """Make every check, the quick ones first.

    Args:
        config: names the encoder and the pipeline's root.
    """
    yield check_python()
    yield check_glibc()
    yield from check_versions()
    yield check_processor()
    yield check_memory()
    root = Path(config.pipeline_root())
    yield check_disk(root)
    yield check_writable("pipeline.root", root)
    yield check_writable("pusher.base_directory", Path(config.push_directory()))
    yield from check_tensorflow(probe(config.trainer.encoder), config.trainer.encoder)


def check_python(version: tuple[int, int] = sys.version_info[:2]) -> Check:
    """Whether a stack exists for this Python."""
    text = f"{version[0]}.{version[1]}"
    if version in STACKS:
        return Check("Python", "ok", f"{text}, {platform.system()} {platform.machine()}")
    return Check("Python", "failed", f"{text}; legal are 3.11, 3.12 and 3.13: make env")


def check_glibc(
    version: tuple[int, int] = sys.version_info[:2], libc: tuple[str, str] | None = None
) -> Check:
    """Whether this stack's wheels run on the system's C library."""
    name, number = platform.libc_ver() if libc is None else libc
    if name != "glibc":
        return Check("glibc", "warning", f"found {name or 'none'}; TensorFlow is built for glibc")
    found = tuple(int(part) for part in number.split(".")[:2])
    if version >= (3, 12) and found < _NEW_STACK_GLIBC:
        return Check(
            "glibc",
            "failed",
            f"{number}; TFX 1.21's wheels need 2.39 or newer: on this system use Python 3.11",
        )
    return Check("glibc", "ok", number)


def check_versions(
    version: tuple[int, int] = sys.version_info[:2],
    installed: Callable[[str], str] = importlib.metadata.version,
) -> Iterator[Check]:
    """Whether TFX and TensorFlow are the pair that was tried together."""
    for package, wanted in STACKS.get(version, {}).items():
        try:
            found = installed(package)
        except importlib.metadata.PackageNotFoundError:
            yield Check(package, "failed", f"not installed; {wanted} is needed: make env")
            continue
        state: State = "ok" if found == wanted else "warning"
        detail = found if found == wanted else f"{found}; tried with {wanted}: make env"
        yield Check(package, state, detail)


def check_processor(information: Path = Path("/proc/cpuinfo")) -> Check:
    """Cores that this process may use, and the instructions that make mixed_bfloat16 pay."""
    present = cpu_flags(information)
    flags = [label for flag, label in _CPU_FLAGS.items() if flag in present]
    found = " and ".join(flags)
    hint = (
        f"{found}: trainer.precision = mixed_bfloat16 pays"
        if flags
        else "no AVX512_BF16, no AMX: trainer.precision = float32 is the fastest"
    )
    return Check("processor", "ok", f"{usable_cpus()} cores; {hint}")


def check_memory(available: int | None = None) -> Check:
    """Whether a run fits into memory."""
    found = (psutil.virtual_memory().available if available is None else available) / _GIB
    return _enough("memory", found, _MEMORY_GIB, "available", "close other programs")


def check_disk(root: Path, free: int | None = None) -> Check:
    """Whether artifacts and checkpoints fit on the disk."""
    found = (shutil.disk_usage(_existing(root)).free if free is None else free) / _GIB
    return _enough("disk", found, _DISK_GIB, "free", "set pipeline.root to a larger disk")


def check_writable(key: str, folder: Path) -> Check:
    """Whether the folder, or the one it will be made in, can be written."""
    where = _existing(folder)
    try:
        with tempfile.TemporaryFile(dir=where):
            pass
    except OSError as error:
        return Check(key, "failed", f"{where} cannot be written ({error.strerror}); set {key}")
    return Check(key, "ok", str(folder))


def probe(encoder: str) -> dict[str, Any]:
    """Ask a new process about TensorFlow, TensorBoard and the encoder.

    Returns:
        What ``_PROBE`` prints; ``{"crash": why}`` when the process did not live to print it.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROBE, encoder],
            capture_output=True,
            text=True,
            timeout=_PROBE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"crash": f"no answer in {_PROBE_SECONDS} s"}
    try:
        return dict(json.loads(done.stdout.splitlines()[-1]))
    except (IndexError, ValueError):
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        return {"crash": f"exit code {done.returncode}: {last}"}


def check_tensorflow(found: dict[str, Any], encoder: str) -> Iterator[Check]:
    """Turn the probe's answers into checks."""
    problem = found.get("crash") or found.get("tensorflow_error")
    if problem:
        yield Check("TensorFlow", "failed", f"import fails: {problem}; make env")
        if "crash" in found:
            return
    else:
        yield Check("TensorFlow", "ok", f"{found['tensorflow']} imports, with tensorflow-text")
        gpus = [str(gpu) for gpu in found.get("gpus") or []]
        yield Check("GPUs", "ok", ", ".join(gpus) or "none seen (make env GPU=1 adds CUDA)")
    if "tensorboard" in found:
        yield Check("TensorBoard", "ok", str(found["tensorboard"]))
    else:
        why = found.get("tensorboard_error")
        yield Check("TensorBoard", "failed", f"{why}; the Tuner's trials need it: make env")
    if "encoder" in found:
        digest = str(found["encoder"])[:12]
        yield Check("encoder", "ok", f"{encoder}, present, checksum right, fingerprint {digest}")
    elif "encoder_error" in found:
        yield Check("encoder", "failed", str(found["encoder_error"]))


def _enough(name: str, found: float, bounds: tuple[float, float], word: str, advice: str) -> Check:
    least, comfortable = bounds
    detail = f"{found:.1f} GiB {word}"
    if found < least:
        return Check(name, "failed", f"{detail}; {least} GiB is the least: {advice}")
    if found < comfortable:
        return Check(name, "warning", f"{detail}; {comfortable} GiB is comfortable: {advice}")
    return Check(name, "ok", detail)


def _existing(path: Path) -> Path:
    """The path, or its nearest parent that exists."""
    return next(folder for folder in (path, *path.parents) if folder.exists())
