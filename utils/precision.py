"""How exactly a network is computed in training: `--precision`."""

import os

# Numbers are kept in float32, as in Keras' policy of that name; only the factors of products are
# rounded to bfloat16, and their sums are float32 again. It is to CPUs with AMX what TensorFloat-32,
# which TensorFlow uses for float32 without being asked, is to GPUs; elsewhere it changes nothing.
FAST = "fast_float32"

PRECISIONS = (FAST, "float32", "mixed_bfloat16", "mixed_float16")


def use_precision(name: str) -> None:
    """Lets all layers that are built from now on compute in a precision.

    Args:
        name: one of `PRECISIONS`. FAST holds for the whole process, once it has computed.
    """
    import keras  # takes seconds, and a script that parses its flags needs the names alone

    if name == FAST:
        # oneDNN, which computes convolutions and products on CPUs, reads it at its first one.
        os.environ.setdefault("ONEDNN_DEFAULT_FPMATH_MODE", "BF16")
    keras.mixed_precision.set_dtype_policy("float32" if name == FAST else name)
