import os

import keras
import pytest
import tensorflow as tf

from utils import precision
from utils.precision import AUTO, FAST, find_precision, use_precision

VARIABLE = "ONEDNN_DEFAULT_FPMATH_MODE"


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    monkeypatch.setenv(VARIABLE, "")  # so that it is restored after the test
    monkeypatch.delenv(VARIABLE)


@pytest.fixture
def processor(monkeypatch, tmp_path):
    """Replaces /proc/cpuinfo by that of a processor with the given flags."""

    def describe(flags):
        path = tmp_path / "cpuinfo"
        path.write_text(f"processor\t: 0\nflags\t\t: fpu {flags} sse2\n\nprocessor\t: 1\n")
        monkeypatch.setattr(precision, "CPU_INFO", path)

    return describe


def test_fast_float32_stores_float32_and_rounds_products():
    use_precision(FAST)
    assert keras.config.dtype_policy().name == "float32"
    assert os.environ[VARIABLE] == "BF16"


@pytest.mark.parametrize("name", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_other_precisions_are_keras_policies(name):
    use_precision(name)
    assert keras.config.dtype_policy().name == name
    assert VARIABLE not in os.environ


def test_variable_of_the_user_is_kept(monkeypatch):
    monkeypatch.setenv(VARIABLE, "STRICT")
    use_precision(FAST)
    assert os.environ[VARIABLE] == "STRICT"


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("avx512f avx512_bf16", "mixed_bfloat16"),
        ("avx512f amx_bf16 amx_tile", "mixed_bfloat16"),
        ("avx2 avx512f avx512_vnni", "float32"),
    ],
)
def test_auto_is_bfloat16_if_the_processor_has_units(processor, flags, expected):
    processor(flags)
    assert find_precision(AUTO) == expected
    assert find_precision("float32") == "float32"
    use_precision(AUTO)
    assert keras.config.dtype_policy().name == expected


def test_auto_is_float32_on_gpus_and_unknown_processors(processor, monkeypatch):
    assert find_precision(AUTO) == "float32"
    processor("avx512_bf16")
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [kind])
    assert find_precision(AUTO) == "float32"
