"""Which precision a training run computes in.

"auto" is bfloat16 with float32 weights where the processor multiplies bfloat16 matrices in hardware
(GPUs from compute capability 8.0 on; CPUs with AVX512_BF16 or AMX), else float32. Elsewhere
bfloat16 is emulated, and slower than float32.
"""

import contextlib
from collections.abc import Sequence
from pathlib import Path

from modules.contract.hparams import Precision

AUTO = "auto"
_CPU_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})
_GPU_CAPABILITY = (8, 0)


def resolve_precision(
    precision: Precision, processor_information: Path = Path("/proc/cpuinfo")
) -> Precision:
    """The Keras dtype policy to train in.

    Args:
        precision: what was configured.
        processor_information: Linux's description of the CPU; absent elsewhere.

    Returns:
        ``precision`` itself, or what "auto" means on this machine.
    """
    if precision != AUTO:
        return precision
    capabilities = _gpu_capabilities()
    if capabilities:
        fast = min(capabilities) >= _GPU_CAPABILITY
    else:
        fast = bool(_CPU_FLAGS & cpu_flags(processor_information))
    return "mixed_bfloat16" if fast else "float32"


def cpu_flags(processor_information: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """Instruction sets of the CPU, as Linux names them; empty where the file is absent."""
    with contextlib.suppress(OSError):
        for line in processor_information.read_text().splitlines():
            if line.startswith("flags"):
                return frozenset(line.partition(":")[2].split())
    return frozenset()


def _gpu_capabilities() -> Sequence[tuple[int, int]]:
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    details = (tf.config.experimental.get_device_details(gpu) for gpu in gpus)
    return [detail.get("compute_capability", (0, 0)) for detail in details]
