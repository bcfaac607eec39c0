"""Checks of whether this machine can run the pipeline, each with a remedy for a failure.

TensorFlow is imported in a separate process: the import takes seconds and may crash on an
unsupported processor or driver, which the other checks must survive.
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

#: Python version -> the supported stack.
STACKS: dict[tuple[int, int], dict[str, str]] = {
    (3, 11): {"tfx": "1.16.0", "tensorflow": "2.16.2", "tensorflow-text": "2.16.1"},
    (3, 12): {"tfx": "1.21.0", "tensorflow": "2.21.0", "tensorflow-text": "2.21.1"},
    (3, 13): {"tfx": "1.21.0", "tensorflow": "2.21.0", "tensorflow-text": "2.21.1"},
}
#: Oldest glibc supported by TFX 1.21's ml-metadata and tfdv wheels.
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
    """Result of one check.

    Attributes:
        name: name of the check.
        state: "failed" means that a run cannot succeed.
        detail: the finding and, unless the state is "ok", what to do.
    """

    name: str
    state: State
    detail: str


def examine(config: Config) -> Iterator[Check]:
    """Run all checks, the quick ones first.

    Args:
        config: names the encoder and the folders to write to.
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
    """Check that a stack supports this Python."""
    text = f"{version[0]}.{version[1]}"
    if version in STACKS:
        return Check("Python", "ok", f"{text}, {platform.system()} {platform.machine()}")
    return Check(
        "Python",
        "failed",
        f"{text} is not supported; run `make env PYTHON=python3.11` (allowed: 3.11, 3.12, 3.13)",
    )


def check_glibc(
    version: tuple[int, int] = sys.version_info[:2], libc: tuple[str, str] | None = None
) -> Check:
    """Check that this stack's wheels run on the system's C library."""
    name, number = platform.libc_ver() if libc is None else libc
    if name != "glibc":
        return Check("glibc", "warning", f"{name or 'not found'}; TensorFlow is built for glibc")
    found = tuple(int(part) for part in number.split(".")[:2])
    if version >= (3, 12) and found < _NEW_STACK_GLIBC:
        return Check(
            "glibc",
            "failed",
            f"{number}; TFX 1.21 needs 2.39 or newer: use Python 3.11 on this system",
        )
    return Check("glibc", "ok", number)


def check_versions(
    version: tuple[int, int] = sys.version_info[:2],
    installed: Callable[[str], str] = importlib.metadata.version,
) -> Iterator[Check]:
    """Check that TFX and TensorFlow have the versions that were tested together."""
    for package, wanted in STACKS.get(version, {}).items():
        try:
            found = installed(package)
        except importlib.metadata.PackageNotFoundError:
            yield Check(package, "failed", f"not installed; run `make env` to install {wanted}")
            continue
        state: State = "ok" if found == wanted else "warning"
        detail = found if found == wanted else f"{found}, tested with {wanted}; run `make env`"
        yield Check(package, state, detail)


def check_processor(information: Path = Path("/proc/cpuinfo")) -> Check:
    """Report the cores that this process may use and the fastest precision for training."""
    present = cpu_flags(information)
    flags = [label for flag, label in _CPU_FLAGS.items() if flag in present]
    found = " and ".join(flags)
    hint = (
        f"{found}: trainer.precision=mixed_bfloat16 is fastest"
        if flags
        else "no AVX512_BF16 or AMX: trainer.precision=float32 is fastest"
    )
    return Check("processor", "ok", f"{usable_cpus()} cores; {hint}")


def check_memory(available: int | None = None) -> Check:
    """Check that a run fits into memory."""
    found = (psutil.virtual_memory().available if available is None else available) / _GIB
    return _enough("memory", found, _MEMORY_GIB, "available", "close other programs")


def check_disk(root: Path, free: int | None = None) -> Check:
    """Check that artifacts and checkpoints fit on the disk."""
    found = (shutil.disk_usage(_existing(root)).free if free is None else free) / _GIB
    return _enough(
        "disk", found, _DISK_GIB, "free", "set pipeline.root to a folder on a larger disk"
    )


def check_writable(key: str, folder: Path) -> Check:
    """Check that the folder, or the parent that it will be created in, is writable."""
    where = _existing(folder)
    try:
        with tempfile.TemporaryFile(dir=where):
            pass
    except OSError as error:
        return Check(key, "failed", f"cannot write to {where} ({error.strerror}); set {key}")
    return Check(key, "ok", str(folder))


def probe(encoder: str) -> dict[str, Any]:
    """Import TensorFlow and TensorBoard and load the encoder in a new process.

    Returns:
        The output of ``_PROBE``, or ``{"crash": reason}`` if the process did not print any.
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
    """Turn the output of ``probe`` into checks."""
    problem = found.get("crash") or found.get("tensorflow_error")
    if problem:
        yield Check("TensorFlow", "failed", f"import failed: {problem}; run `make env`")
        if "crash" in found:
            return
    else:
        yield Check("TensorFlow", "ok", f"{found['tensorflow']}, imports with tensorflow-text")
        gpus = [str(gpu) for gpu in found.get("gpus") or []]
        yield Check("GPUs", "ok", ", ".join(gpus) or "none found (`make env GPU=1` installs CUDA)")
    if "tensorboard" in found:
        yield Check("TensorBoard", "ok", str(found["tensorboard"]))
    else:
        why = found.get("tensorboard_error")
        yield Check("TensorBoard", "failed", f"{why}; the Tuner needs it: run `make env`")
    if "encoder" in found:
        digest = str(found["encoder"])[:12]
        yield Check("encoder", "ok", f"{encoder}, checksum verified, fingerprint {digest}")
    elif "encoder_error" in found:
        yield Check("encoder", "failed", str(found["encoder_error"]))


def _enough(name: str, found: float, bounds: tuple[float, float], word: str, advice: str) -> Check:
    least, comfortable = bounds
    detail = f"{found:.1f} GiB {word}"
    if found < least:
        return Check(name, "failed", f"{detail}, {least} GiB required; {advice}")
    if found < comfortable:
        return Check(name, "warning", f"{detail}, {comfortable} GiB recommended; {advice}")
    return Check(name, "ok", detail)


def _existing(path: Path) -> Path:
    """Return the path, or its nearest parent that exists."""
    return next(folder for folder in (path, *path.parents) if folder.exists())
