"""Files of weights: .h5 of Keras 2 and 3, .safetensors and .pth."""

import json

import h5py
import keras
import numpy as np
import pytest
from hypothesis import strategies as st
from safetensors.numpy import save_file

from nets.conventions import KERAS
from tests.fuzzing import VALUES, changed, damaged, judge
from tests.weights_checks import check_tensors
from utils.layer_tensors import load_exactly
from utils.weights.backbone_file import BackboneHeader, read_backbone, save_backbone
from utils.weights.loading import open_file
from utils.weights.tensorfiles import has_layer_names, read_h5, read_torch
from utils.weights.torch_names import translate
from utils.weights_file import ENTRY, make_document, read_detector, read_tensors

HEADER = BackboneHeader("mobilenetv1", 0.25, KERAS, "a.pth")


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(1)
    images = keras.Input((4, 4, 2))
    x = keras.layers.Conv2D(3, 1, name="a")(images)
    return keras.Model(images, keras.layers.BatchNormalization(name="b")(x))


def write_keras3(path, network, document=True):
    network.save_weights(path)
    if document:
        with h5py.File(path, "r+") as file:
            file.attrs[ENTRY] = make_document(HEADER, read_tensors(file)[0])


def read_and_load(path, network):
    """Reads a file as `load_run` does."""
    header, tensors = read_detector(path)
    check_tensors(tensors)
    load_exactly(network, tensors, path)
    return header, tensors


def test_damaged_weights_of_keras_3(fuzz, network, tmp_path):
    path = tmp_path / "a.weights.h5"
    write_keras3(path, network, document=False)
    good = [weight.numpy() for weight in network.weights]
    files = [path.read_bytes()]

    def check(data):
        path.write_bytes(data)
        judge(has_layer_names, path)
        judge(read_h5, path)
        if judge(read_and_load, path, network) is None:
            for weight, values in zip(network.weights, good, strict=True):
                np.testing.assert_array_equal(weight.numpy(), values)
            return
        for weight, values in zip(network.weights, good, strict=True):
            assert np.isfinite(weight.numpy()).all()
            weight.assign(values)

    fuzz(check, data=damaged(files))


def test_digest_finds_all_damage(fuzz, network, tmp_path):
    path = tmp_path / "a.safetensors"
    save_backbone(path, network, HEADER)
    good = path.read_bytes()
    _, expected = read_backbone(path)

    def check(data):
        path.write_bytes(data)
        found = judge(read_backbone, path)
        if found is not None:
            header, tensors = found
            assert header == HEADER and tensors.keys() == expected.keys()
            for name in expected:
                np.testing.assert_array_equal(tensors[name], expected[name])
        judge(read_torch, path)

    fuzz(check, data=damaged([good], [b"F16", b"BF16", b"BOOL", b"[0,", b"U64"]))


def pack(header, data):
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def test_headers_of_safetensors(fuzz, tmp_path):
    path = tmp_path / "a.safetensors"
    save_file({"b.weight": np.ones((2, 3), np.float32), "b.bias": np.ones(2, np.float32)}, path)
    good = path.read_bytes()
    length = int.from_bytes(good[:8], "little")
    document = json.loads(good[8 : 8 + length])
    kinds = st.sampled_from(
        ["F16", "BF16", "F64", "I64", "U8", "BOOL", "F8_E4M3", "C64", "F4", "x"]
    )

    def check(header, data):
        path.write_bytes(pack(header, data))
        tensors = judge(read_torch, path)
        if tensors is not None:
            assert all(values.dtype == np.float32 for values in tensors.values())
            assert sum(values.size for values in tensors.values()) <= 8 * len(data)
            check_tensors(judge(translate, tensors, None)[0])

    fuzz(
        check,
        header=changed(document, VALUES | kinds),
        data=st.just(good[8 + length :]) | st.binary(max_size=64),
    )


def write_keras2(path, change=lambda file: None):
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"conv2d", b"bn"]
        for layer in ("conv2d", "bn"):
            group = file.create_group(layer)
            group.attrs["weight_names"] = [f"{layer}/kernel:0".encode()]
            group.create_dataset(f"{layer}/kernel:0", data=np.ones((2, 3), np.float32))
        change(file)


def test_damaged_weights_of_keras_2(fuzz, tmp_path):
    path = tmp_path / "a.h5"
    write_keras2(path)
    good = path.read_bytes()

    def check(data):
        path.write_bytes(data)
        if judge(has_layer_names, path):
            check_tensors(judge(read_h5, path) or {})

    fuzz(check, data=damaged([good], [b"conv2d", b"kernel:0", b"layer_names", b"TREE", b"SNOD"]))


ATTRIBUTES = st.one_of(
    st.integers(-(2**31), 2**31),
    st.floats(),
    st.sampled_from(
        [
            *(b"\xff\xfe", b"", np.zeros((3, 2)), np.zeros(0, "S1"), np.array([b"\xff"], "S1")),
            *(h5py.Empty("f4"), h5py.Empty("S1"), np.array([1 + 2j]), [b"conv2d", b"x"], b"{}"),
            *(
                [b"conv2d", b"conv2d"],
                np.zeros(2, [("a", "i4")]),
                "é",
                [b"..", b"/"],
                [b"conv2d"] * 99,
            ),
        ]
    ),
)
DATA = st.sampled_from(
    [
        *(np.ones((2, 3), np.float16), np.ones(3, np.int64), np.ones(3, bool), np.array(b"text")),
        *(np.array([1 + 2j]), np.array([b"ab"]), np.zeros(2, [("a", "f4")]), np.ones((0, 3))),
        *(h5py.Empty("f4"), np.full(3, np.nan, np.float32), np.float64(1e300), np.ones((1,) * 20)),
    ]
)


def test_contents_of_h5(fuzz, network, tmp_path):
    """Valid HDF5 with values, types and links that no weights have."""
    path = tmp_path / "a.h5"

    def check(attributes, data, links):
        def change(file):
            for place, name, value in attributes:
                file[place].attrs[name] = value
            for place, values in data:
                if place in file:
                    del file[place]
                file[place] = values
            for place, link in links:
                if place not in file:
                    file[place] = link

        try:
            write_keras2(path, change)
        except (ValueError, TypeError, OSError, RuntimeError, KeyError):
            return  # HDF5 does not store it
        if judge(has_layer_names, path):
            check_tensors(judge(read_h5, path) or {})
        judge(read_and_load, path, network)
        judge(open_file, path, "mobilenetv1")

    groups = st.sampled_from(["/", "conv2d", "bn"])
    places = st.sampled_from(
        ["conv2d/conv2d/kernel:0", "bn/bn/kernel:0", "layers/a/vars/0", "model_weights"]
    )
    names = st.sampled_from(["layer_names", "weight_names", "name", ENTRY, "model_config"])
    links = st.sampled_from(
        [
            h5py.SoftLink("/"),
            h5py.SoftLink("/x"),
            h5py.ExternalLink("/dev/zero", "/"),
            h5py.ExternalLink("a.h5", "/"),
        ]
    )
    fuzz(
        check,
        attributes=st.lists(st.tuples(groups, names, ATTRIBUTES), max_size=3),
        data=st.lists(st.tuples(places, DATA), max_size=2),
        links=st.lists(st.tuples(places, links), max_size=2),
    )
