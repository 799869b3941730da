import json
from functools import partial

import keras
import pytest
import tensorflow as tf

import summary
from nets.backbones.registry import build_classifier
from nets.detector import Detector


def test_flops_equal_the_hand_worked_example():
    images = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, strides=2, padding="same")(images)  # 4*4 * 3*3*3*4 = 1728
    x = keras.layers.BatchNormalization()(x)
    inner = keras.Input((4, 4, 4))
    inside = keras.layers.DepthwiseConv2D(3, padding="same")(inner)  # 4*4 * 3*3*4 = 576
    inside = keras.layers.Conv2D(6, 1, groups=2)(inside)  # 4*4 * 2*6 = 192
    x = keras.Model(inner, inside)(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dense(5)(x)  # 6*5 = 30
    assert summary.count_flops(keras.Model(images, x).layers) == 2 * (1728 + 576 + 192 + 30)


@pytest.mark.parametrize(
    ("backbone", "millions_of_multiply_adds"),
    [
        ("mobilenetv1", 569),  # Howard et al. 2017, table 8
        ("mobilenetv2", 300),  # Sandler et al. 2018, table 4
    ],
)
def test_flops_equal_published_figures(backbone, millions_of_multiply_adds):
    flops = summary.count_flops(build_classifier(backbone).layers)
    assert flops / 2e6 == pytest.approx(millions_of_multiply_adds, rel=0.003)


@pytest.mark.parametrize(
    ("backbone", "width", "params", "gflops"),
    [("mobilenetv2", 1, 3.2, 3.1), ("mobilenetv3_small", 1, 1.6, 1.5), ("shufflenetv2", 0.5, 1, 1)],
)
def test_v4_lite_fits_the_backbones(backbone, width, params, gflops):
    """Limits in millions and GFLOPs at 416x416 with 20 classes; YOLOv8n has 3.2 and 3.7."""
    with keras.StatelessScope(initialize_variables=False):
        figures = summary.summarize(Detector(backbone, version="v4-lite", width=width))
    assert figures["params"] < params * 1e6
    assert figures["gflops"] < gflops


def test_flops_equal_those_of_the_graph():
    detector = Detector("mobilenetv1", 3, width=0.25, input_size=(64, 96))
    signature = tf.TensorSpec((1, 64, 96, 3), tf.float32)
    graph = tf.function(detector).get_concrete_function(signature).graph
    multiply_adds = 0
    for operation in graph.get_operations():
        if operation.type in ("Conv2D", "DepthwiseConv2dNative"):
            kernel = operation.inputs[1].shape
            area = operation.outputs[0].shape[1:3].num_elements()
            multiply_adds += area * kernel.num_elements()
        assert operation.type not in ("MatMul", "BatchMatMulV2", "Einsum"), "not counted above"
    assert summary.summarize(detector)["gflops"] == pytest.approx(2 * multiply_adds / 1e9)


@pytest.fixture
def run(run_script):
    """Runs summary.py, see `run_script`."""
    return partial(run_script, summary)


def test_json_output_follows_the_contract(run):
    code, out, _ = run("--backbone", "mobilenetv1", "--classes-count", "80", "--json")
    figures = json.loads(out)
    assert code == 0
    assert set(figures) == {"params", "backbone_params", "gflops", "features"}
    assert figures["params"] == 12_754_109  # of mobilenet-yolov4-keras with 80 classes
    assert figures["backbone_params"] == 3_228_864
    assert figures["features"] == [[52, 52, 256], [26, 26, 512], [13, 13, 1024]]
    assert 10 < figures["gflops"] < 11


def test_the_parts_of_the_table_add_up(run):
    flags = (
        "--backbone",
        "mobilenetv1",
        "--width",
        "0.25",
        "--yolo",
        "v3",
        "--input-size",
        "64x96",
    )
    code, out, _ = run(*flags)
    assert code == 0
    numbers = [line.replace(",", "").split()[-2:] for line in out.splitlines()[1:5]]
    *parts, total = [(int(params), float(gflops)) for params, gflops in numbers]
    assert sum(params for params, _ in parts) == total[0]
    assert sum(gflops for _, gflops in parts) == pytest.approx(total[1], abs=0.002)
    assert "64x96" in out
    assert "8x12x64" in out


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--backbone", "mobilnetv2"], "mobilenetv2"),
        (["--backbone", "mobilenetv1", "--width", "3"], "0.25"),
        (["--yolo", "v5"], "v4"),
        (["--input-size", "100"], "32"),
        (["--classes-count", "0"], "'0' is not an integer from 1 to 10,000"),
    ],
)
def test_usage_errors_are_one_line(run, flags, words):
    code, out, err = run(*flags)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert words in err
