"""Runs train.py like a user, on a small dataset."""

import json

import keras
import numpy as np
import pytest

import train
from nets.backbones import list_backbones
from nets.versions import VERSIONS
from tests.vocset import add_image, add_list
from utils.run import load_run, newest_run

SMALL = (
    *("--backbone", "mobilenetv1", "--width", "0.25", "--yolo", "v4-tiny"),
    *("--input-size", "64", "--batch-size", "2"),
)

pytestmark = pytest.mark.usefixtures("eagerly")


@pytest.fixture
def data(tmp_path):
    voc = tmp_path / "VOCdevkit" / "VOC2007"
    for number in range(8):
        add_image(voc, f"image {number}", [(("cat", "dog")[number % 2], (8, 8, 60, 50))])
    names = [f"image {number}" for number in range(8)]
    for name, ids in (("train", names[:4]), ("val", names[4:6]), ("test", names[6:])):
        add_list(voc, name, ids)
    return voc.parent


@pytest.fixture
def run_train(data, tmp_path, run_script):
    """Runs train.py on small data, see `run_script`."""

    def call(*flags, data=data, run=tmp_path / "run"):
        first = ("--data", data, "--run", run, "--weights", "none", *SMALL)
        return run_script(train, *first, *flags)

    return call


def test_run_directory_is_complete(run_train, tmp_path):
    code, out, err = run_train("--epochs", "2", "--yolo", "v3")
    assert code == 0, err
    path = tmp_path / "run"
    assert str(path) in out
    assert (path / "classes.txt").read_text() == "cat\ndog\n"
    result = json.loads((path / "result.json").read_text())
    assert result["backbone"] == "mobilenetv1" and result["yolo"] == "v3" and result["epochs"] == 2
    assert result["images_per_second"] > 0 and result["train_seconds"] > 0
    assert 0 <= result["best_map"] <= result["best_map50"] <= 1
    for name in ("config.json", "anchors.txt", "data.txt", "last.npz", "history.csv"):
        assert (path / name).stat().st_size > 0
    for name in ("epoch_loss.png", "epoch_map.png"):
        assert (path / name).read_bytes().startswith(b"\x89PNG")
    assert list(path.rglob("events.out.tfevents*"))

    run = load_run(path)
    assert run.config.width == 0.25 and run.config.input_size == (64, 64)
    # All boxes are 52x42 pixels in images 80 pixels wide: 41.6x33.6 at 64.
    np.testing.assert_allclose(
        run.config.yolo.anchor_array, np.tile(np.float32([41.6, 33.6]), (3, 3, 1))
    )
    assert run.config.yolo.neighbours and run.config.yolo.scale_xy == (2.0,) * 3
    assert run.config.yolo.iou_objectness
    assert run.config.recipe.freeze_share == 0  # random weights are not frozen
    found = run.detector.detect(np.zeros((1, 64, 64, 3), np.uint8), confidence=0.001)
    assert np.isfinite(found["boxes"]).all()
    assert newest_run(tmp_path) == path


def test_classic_recipe_is_recorded_in_the_run(run_train, tmp_path):
    flags = "--epochs", "1", "--recipe", "classic", "--yolo", "v4", "--precision", "mixed_bfloat16"
    code, _, err = run_train(*flags)
    assert code == 0, err
    assert keras.config.dtype_policy().name == "mixed_bfloat16"
    run = load_run(tmp_path / "run")
    recipe, yolo = run.config.recipe, run.config.yolo
    assert (recipe.epochs, recipe.optimizer, recipe.learning_rate) == (1, "sgd", 0.00125)
    assert (recipe.augmentation.scale, recipe.augmentation.mosaic) == ((0.25, 2.0), 0.5)
    assert recipe.small_share == 0.0
    assert (yolo.neighbours, yolo.scale_xy, yolo.match_iou) == (False, (1.0, 1.0, 1.0), 1.0)
    assert not yolo.iou_objectness
    assert (yolo.box_weight, yolo.objectness_weight, yolo.class_weight) == (0.05, 5.0, 1.0)
    np.testing.assert_array_equal(yolo.anchor_array, VERSIONS["v4"].anchor_array)


@pytest.mark.parametrize("lost", ["list", "images"])
def test_unusable_test_set_does_not_prevent_training(run_train, data, lost):
    voc = data / "VOC2007"
    if lost == "list":
        add_list(voc, "test", [])
    else:
        for number in (6, 7):
            (voc / "JPEGImages" / f"image {number}.png").unlink()
    code, _, err = run_train("--epochs", "1")
    assert code == 0, err
    assert (lost == "images") == ("annotation without image: 2" in err)


def test_validation_images_without_objects_are_rejected(run_train, data, tmp_path):
    add_image(data / "VOC2007", "image 4")
    add_image(
        data / "VOC2007", "image 5", [("cat", (8, 8, 60, 50), 1)]
    )  # difficult, so not counted
    code, _, err = run_train("--epochs", "1")
    assert code == 2 and "no object to find in the 2 validation images" in err.splitlines()[-1]
    assert not (tmp_path / "run").exists()


def test_time_limit_before_the_first_step_writes_nothing(run_train, tmp_path):
    code, _, err = run_train("--max-minutes", "1e-9")
    assert code == 1 and "before the first step" in err.splitlines()[-1]
    assert not (tmp_path / "run").exists()


def test_weights_of_a_detector_with_other_classes_are_loaded(run_train, data, tmp_path):
    assert run_train("--epochs", "1")[0] == 0
    classes = tmp_path / "classes.txt"
    classes.write_text("bird\ncat\ndog\n")
    weights = tmp_path / "run" / "best.weights.h5"
    code, _, err = run_train(
        "--epochs", "1", "--classes", classes, "--weights", weights, run=tmp_path / "second"
    )
    assert code == 0, err
    # Kernels and biases of the two heads, whose shapes depend on the number of classes.
    assert "tensors loaded" in err
    assert "4 not loaded, of another shape in the file: head_p4_logits/kernel" in err
    assert load_run(tmp_path / "second").config.recipe.freeze_share == 0.1


def test_config_names_random_weights_if_the_download_failed(run_train, tmp_path, monkeypatch):
    def offline(**options):
        raise OSError("no network")

    monkeypatch.setattr(keras.applications, "MobileNet", offline)
    code, _, err = run_train("--epochs", "1", "--weights", "auto")
    assert code == 0, err
    assert "no network" in err and "training starts from random weights" in err
    config = load_run(tmp_path / "run").config
    assert config.weights == "none" and config.recipe.freeze_share == 0
    code, _, err = run_train("--weights", "imagenet", run=tmp_path / "second")
    assert code == 2 and "no network" in err.splitlines()[-1]
    assert not (tmp_path / "second").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--input-size", "100"], "multiple of 32"),
        (["--backbone", "ghostnett"], "ghostnet"),
        (["--width", "0.3"], "0.25"),
        (["--epoch", "3"], "--epochs"),
        (["--yolo", "v5"], "v4"),
        (["--lr", "0"], "greater than 0"),
        (["--freeze-epochs", "5", "--epochs", "5"], "0..4"),
        (["--freeze-epochs", "5", "--max-minutes", "5"], "--epochs"),
        (["--jit", "--strategy", "mirrored"], "one device"),
        (["--train-set", "trainvall"], "trainvall"),
        (["--weights", "no-such.h5"], "no-such.h5"),
        (["--classes", "no-such.txt"], "no-such.txt"),
    ],
)
def test_bad_flags_are_one_line_and_exit_2(run_train, tmp_path, flags, message):
    code, out, err = run_train(*flags)
    assert code == 2 and out == ""
    assert err.splitlines()[-1].startswith("error: ") and message in err.splitlines()[-1]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("imagenets", "no weights file 'imagenets', did you mean imagenet?"),
        ("no-such.h5", "no weights file 'no-such.h5'"),
        ("photo.jpg", "photo.jpg has an unknown format"),
        ("run", "run is a folder, name a file of weights such as best.weights.h5"),
    ],
)
def test_wrong_weights_are_reported_before_tensorflow_starts(
    run_train, tmp_path, monkeypatch, weights, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photo.jpg").write_bytes(b"")
    (tmp_path / "run").mkdir()
    monkeypatch.setattr(train, "import_tensorflow", lambda: pytest.fail("imported too early"))
    code, _, err = run_train("--weights", weights)
    assert code == 2 and message in err


@pytest.mark.parametrize(
    ("backbone", "width", "weights", "message"),
    [
        ("darknet53", "1", "imagenet", "no ImageNet weights to download for darknet53"),
        ("ghostnet", "0.5", "imagenet", "published for ghostnet of width 0.5, use width 1"),
        ("ghostnet", "0.5", "a.weights.h5", "a.weights.h5 is damaged"),
    ],
)
def test_wrong_weights_are_reported_before_the_data(
    run_train, tmp_path, monkeypatch, backbone, width, weights, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.weights.h5").write_bytes(b"not HDF5")
    flags = ("--backbone", backbone, "--width", width, "--weights", weights)
    code, _, err = run_train(*flags, data=tmp_path / "none")
    assert code == 2 and message in err.splitlines()[-1]


def test_error_names_bad_data_and_nothing_is_written(run_train, data, tmp_path):
    voc = data / "VOC2007"
    code, _, err = run_train(data=tmp_path / "missing")
    assert code == 2 and "missing" in err

    (voc / "Annotations" / "image 0.xml").write_text("<annotation><obj")
    (voc / "JPEGImages" / "image 1.png").write_bytes(b"not a picture")
    code, _, err = run_train("--strict")
    assert code == 2 and not (tmp_path / "run").exists()
    code, _, err = run_train("--epochs", "1")
    assert code == 0
    assert "image 0.xml" in err and "image 1.png" in err

    add_list(voc, "train", [])
    code, _, err = run_train(run=tmp_path / "empty")
    assert code == 2 and "train" in err.splitlines()[-1]


def test_unusable_run_directory_is_rejected(run_train, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    code, _, err = run_train("--epochs", "1")
    assert code == 2 and "not empty" in err and "--resume" in err
    (tmp_path / "file").write_text("")
    code, _, err = run_train("--epochs", "1", run=tmp_path / "file" / "run")
    assert code == 2 and "file" in err.splitlines()[-1]


def test_error_names_the_damaged_file_of_a_run(run_train, tmp_path):
    from utils.errors import UserError

    assert run_train("--epochs", "1")[0] == 0
    path = tmp_path / "run"
    (path / "classes.txt").write_text("cat\ndog\ncow\n")
    with pytest.raises(UserError, match="num_classes is 2 in the weights and 3") as raised:
        load_run(path)
    assert len(str(raised.value)) < 300, "one line, not all layers"
    weights = (path / "best.weights.h5").read_bytes()
    (path / "best.weights.h5").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(UserError, match=r"best\.weights\.h5"):
        load_run(path)
    (path / "anchors.txt").write_text("1,2,3")
    with pytest.raises(UserError, match=r"anchors"):
        load_run(path)


def test_list_backbones_names_all(run_train):
    code, out, _ = run_train("--list-backbones")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == list_backbones()
