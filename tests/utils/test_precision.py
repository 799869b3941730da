import os

import keras
import pytest
import tensorflow as tf

from utils import precision
from utils.precision import AUTO, FAST, find_precision, use_precision

VARIABLE = "ONEDNN_DEFAULT_FPMATH_MODE"


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    monkeypatch.setenv(VARIABLE, "")  # so that it is put back, whatever a test sets
    monkeypatch.delenv(VARIABLE)


@pytest.fixture
def processor(monkeypatch, tmp_path):
    """Makes the machine one of some processor, described as Linux does."""

    def describe(flags):
        path = tmp_path / "cpuinfo"
        path.write_text(f"processor\t: 0\nflags\t\t: fpu {flags} sse2\n\nprocessor\t: 1\n")
        monkeypatch.setattr(precision, "PROCESSOR", path)

    return describe


def test_fast_float32_keeps_float32_and_lets_products_round(monkeypatch):
    use_precision(FAST)
    assert keras.config.dtype_policy().name == "float32"
    assert os.environ[VARIABLE] == "BF16"


@pytest.mark.parametrize("name", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_other_precisions_are_keras_policies_with_exact_products(name):
    use_precision(name)
    assert keras.config.dtype_policy().name == name
    assert VARIABLE not in os.environ


def test_what_the_user_set_stays(monkeypatch):
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
def test_auto_is_bfloat16_where_the_processor_has_it(processor, flags, expected):
    processor(flags)
    assert find_precision(AUTO) == expected
    assert find_precision("float32") == "float32"
    use_precision(AUTO)
    assert keras.config.dtype_policy().name == expected


def test_auto_is_float32_on_gpus_and_where_nothing_tells_of_the_processor(processor, monkeypatch):
    assert find_precision(AUTO) == "float32"
    processor("avx512_bf16")
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [kind])
    assert find_precision(AUTO) == "float32"
