"""Numeric precision of training: `--precision`."""

import os
from pathlib import Path
from typing import Literal, get_args

# `fast_float32` stores float32 like Keras' policy `float32`, but rounds the factors of products to
# bfloat16 and sums them in float32. Only CPUs with AMX do so; other processors ignore it. It
# corresponds to TensorFloat-32 on GPUs, which TensorFlow uses for float32 by default.
Precision = Literal["float32", "fast_float32", "mixed_bfloat16", "mixed_float16"]
PrecisionFlag = Literal["auto", "float32", "fast_float32", "mixed_bfloat16", "mixed_float16"]
AUTO, FAST = "auto", "fast_float32"
PRECISIONS = get_args(PrecisionFlag)

CPU_INFO = Path("/proc/cpuinfo")
BFLOAT16_UNITS = {"avx512_bf16", "amx_bf16"}


def find_precision(name: PrecisionFlag) -> Precision:
    """Resolves `auto` for this machine.

    Args:
        name: A precision, or `auto`: mixed_bfloat16 if there is no GPU and, according to Linux,
            the processor multiplies bfloat16 in hardware; float32 otherwise.
    """
    if name != AUTO:
        return name
    from nets.devices import has_gpu  # imports TensorFlow, which must not delay --help

    if has_gpu() or not CPU_INFO.is_file():
        return "float32"
    words = CPU_INFO.read_text(encoding="utf-8").split()
    return "float32" if BFLOAT16_UNITS.isdisjoint(words) else "mixed_bfloat16"


def use_precision(name: PrecisionFlag) -> None:
    """Sets the precision of all layers that are built from now on.

    Args:
        name: A precision or `auto`. `fast_float32` applies to the whole process, and only if it is
            set before the first computation.
    """
    import keras  # also imports TensorFlow

    name = find_precision(name)
    if name == FAST:
        # oneDNN, which computes convolutions and products on CPUs, reads it once.
        os.environ.setdefault("ONEDNN_DEFAULT_FPMATH_MODE", "BF16")
    keras.mixed_precision.set_dtype_policy("float32" if name == FAST else name)
