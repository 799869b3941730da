import os

import keras
import pytest

from utils.precision import FAST, use_precision

VARIABLE = "ONEDNN_DEFAULT_FPMATH_MODE"


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    monkeypatch.setenv(VARIABLE, "")  # so that it is put back, whatever a test sets
    monkeypatch.delenv(VARIABLE)
    before = keras.config.dtype_policy()
    yield
    keras.config.set_dtype_policy(before)


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
