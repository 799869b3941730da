"""How exactly a network is computed in training: `--precision`."""

import os
from pathlib import Path

# Numbers are kept in float32, as in Keras' policy of that name; only the factors of products are
# rounded to bfloat16, and their sums are float32 again. It is to CPUs with AMX what TensorFloat-32,
# which TensorFlow uses for float32 without being asked, is to GPUs; elsewhere it changes nothing.
FAST = "fast_float32"

# What a run is trained in; AUTO stands for one of them, by the machine.
PRECISIONS = ("float32", FAST, "mixed_bfloat16", "mixed_float16")
AUTO = "auto"

PROCESSOR = Path("/proc/cpuinfo")
BFLOAT16_UNITS = {"avx512_bf16", "amx_bf16"}


def find_precision(name: str) -> str:
    """The one of `PRECISIONS` that a name stands for on this machine.

    Args:
        name: one of `PRECISIONS`, or AUTO: mixed_bfloat16 where there is no GPU and the processor
            multiplies bfloat16 itself, as far as Linux tells, else float32.
    """
    if name != AUTO:
        return name
    from nets.devices import has_gpu  # takes seconds, where flags are parsed names are enough

    if has_gpu() or not PROCESSOR.is_file():
        return "float32"
    words = PROCESSOR.read_text(encoding="utf-8").split()
    return "float32" if BFLOAT16_UNITS.isdisjoint(words) else "mixed_bfloat16"


def use_precision(name: str) -> None:
    """Lets all layers that are built from now on compute in a precision.

    Args:
        name: AUTO or one of `PRECISIONS`. FAST holds for the whole process, once it has computed.
    """
    import keras  # as above

    name = find_precision(name)
    if name == FAST:
        # oneDNN, which computes convolutions and products on CPUs, reads it at its first one.
        os.environ.setdefault("ONEDNN_DEFAULT_FPMATH_MODE", "BF16")
    keras.mixed_precision.set_dtype_policy("float32" if name == FAST else name)
