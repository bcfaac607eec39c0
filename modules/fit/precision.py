"""Precision of the computations in training.

"auto" is bfloat16 with float32 weights if the processor multiplies bfloat16 matrices in hardware
(GPUs from compute capability 8.0; CPUs with AVX512_BF16 or AMX). Otherwise it is float32, because
emulated bfloat16 is slower.
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
    """Return the Keras dtype policy to train in.

    Args:
        precision: the configured precision.
        processor_information: Linux's description of the CPU; missing on other systems.

    Returns:
        ``precision`` itself, or the policy that "auto" selects on this machine.
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
    """Return the CPU's instruction sets by their Linux names; empty if the file is missing."""
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
