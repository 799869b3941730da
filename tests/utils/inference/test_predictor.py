from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from nets.detector import Detector
from tests.red_finder import RedFinder, picture
from utils.inference.detections import NanError
from utils.inference.engines.keras import KerasEngine
from utils.inference.predictor import Predictor
from utils.inference.thresholds import Thresholds
from utils.run import Run


@pytest.mark.parametrize(("height", "width"), [(200, 100), (100, 400), (37, 53), (640, 960)])
def test_boxes_are_in_pixels_of_the_image(height, width):
    box = (width // 4, height // 4, width * 3 // 4, height // 2)
    (found,) = Predictor(KerasEngine(RedFinder()))([picture(height, width, box)])
    input_pixel = max(height / 64, width / 96)  # in pixels of the image
    np.testing.assert_allclose(found.boxes, [box], atol=1.5 * input_pixel)
    assert found.boxes.dtype == np.float32
    assert found.labels.dtype == np.int32


@pytest.mark.parametrize("batch_size", [1, 2, 4])
def test_partial_last_batch_changes_nothing(batch_size):
    network = RedFinder()
    predictor = Predictor(KerasEngine(network, batch_size=batch_size))
    images = [picture(64, 96, (8 * i, 8, 8 * i + 24, 40)) for i in range(5)]
    found = predictor(images)
    assert [list(d.boxes[0]) for d in found] == [[8 * i, 8, 8 * i + 24, 40] for i in range(5)]
    assert network.traces == 1
    assert predictor([]) == []


def test_detections_say_whether_the_limit_was_reached():
    images = [picture(64, 96, (8, 8, 24, 40)), picture(64, 96)]
    found = Predictor(KerasEngine(RedFinder(), Thresholds(max_boxes=1)))(images)
    assert [each.at_limit for each in found] == [True, False]
    assert not Predictor(KerasEngine(RedFinder(), Thresholds(max_boxes=2)))(images)[0].at_limit


def test_changed_weights_are_used_without_retracing():
    network = RedFinder()
    predictor = Predictor(KerasEngine(network, Thresholds(confidence=0.5)))
    image = picture(64, 96, (8, 8, 24, 24))
    assert predictor([image])[0].scores == pytest.approx([0.9])
    network.score.assign(0.6)
    assert predictor([image])[0].scores == pytest.approx([0.6])
    network.score.assign(0.4)
    assert len(predictor([image])[0]) == 0
    assert network.traces == 1


def test_boxes_in_the_padding_are_dropped():
    class PaddingFinder(RedFinder):
        def detect(self, images, confidence, iou, max_boxes):
            boxes = tf.constant([[[0, 0, 10, 64], [40, 10, 60, 40]]], tf.float32)
            ones = tf.ones((1, 2))
            counts = tf.constant([2])
            return {
                "boxes": boxes,
                "scores": ones,
                "labels": tf.zeros((1, 2), tf.int32),
                "counts": counts,
                "is_nan": tf.zeros(1, tf.bool),
            }

    (found,) = Predictor(KerasEngine(PaddingFinder()))(
        [picture(64, 32)]
    )  # in columns 32 to 64 of the input
    assert found.boxes.tolist() == [[8, 10, 28, 40]]


def test_nan_is_an_error_that_names_its_image():
    class Broken(RedFinder):
        def detect(self, images, *settings):
            # The network fails where the top left pixel is black.
            is_nan = images[:, 0, 0, 0] == 0
            return super().detect(images, *settings) | {"is_nan": is_nan}

    predictor = Predictor(KerasEngine(Broken(), batch_size=2))
    images = [picture(64, 96) for _ in range(3)]
    predictor(images)  # the fourth image is padding, and black
    images[2][:] = 0
    with pytest.raises(NanError) as caught:
        predictor(images)
    assert caught.value.index == 2


def test_run_with_stretch_fills_the_input():
    class Finder(RedFinder):
        def detect(self, images, *settings):
            return {
                "boxes": tf.constant([[[24.0, 0, 48, 64]]]),
                "scores": tf.ones((1, 1)),
                "labels": tf.zeros((1, 1), tf.int32),
                "counts": tf.ones(1, tf.int32),
                "is_nan": tf.zeros(1, tf.bool),
            }

    def boxes(resize):
        run = Run(Path(), SimpleNamespace(resize=resize), ["red"], Finder())
        (found,) = run.predictor(Thresholds())([picture(64, 32)])
        return found.boxes.tolist()

    assert boxes("stretch") == [[8, 0, 16, 64]]  # a third of the width
    assert boxes("letterbox") == [[0, 0, 16, 64]]  # in columns 32 to 64 of the input


def test_heatmap_peaks_at_the_cell_with_the_highest_score():
    network = RedFinder()
    row, column, anchor = 2, 9, 1  # of the 8 x 12 cells at stride 8
    network.best[0, (row * 12 + column) * 3 + anchor] = 0.8
    heat = Predictor(KerasEngine(network)).heatmap(picture(128, 192))  # twice the size of the input
    assert heat.shape == (128, 192)
    y, x = np.unravel_index(heat.argmax(), heat.shape)
    # The cell centre, (9.5, 2.5) * 8 in pixels of the input, is at (152, 40) in the image.
    assert (x, y) == (pytest.approx(152, abs=1), pytest.approx(40, abs=1))
    assert heat.max() == pytest.approx(0.8, rel=0.1)
    assert heat[40, 152 + 16 :].max() == 0


def test_heatmap_undoes_the_letterbox():
    network = RedFinder()
    network.best[0, -3 * 6 :] = [0.7] * 3 + [0] * 15  # the first of 2 x 3 cells at stride 32
    heat = Predictor(KerasEngine(network)).heatmap(
        picture(100, 50)
    )  # in columns 32 to 64 of the input
    # The centre of that cell, (16, 16) in the input, is 16 columns left of the image; that of its
    # right neighbour is 16 columns inside. Half of 0.7 remains at the border, 0 at the neighbour.
    assert heat[:24, 0] == pytest.approx(0.35, abs=0.02)
    assert heat[:, 26:].max() == 0
    assert heat[50, 0] == pytest.approx(0.35 / 2, abs=0.02)  # halfway down to the next row


def test_predictor_runs_a_real_detector():
    detector = Detector("mobilenetv1", 2, "v4-tiny", (64, 96), 0.25)
    predictor = Predictor(KerasEngine(detector, Thresholds(confidence=1e-4, max_boxes=7)))
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    (found,) = predictor([image])
    assert 0 < len(found) <= 7
    assert found.boxes.min() >= 0
    assert (found.boxes <= (96, 64, 96, 64)).all()
    assert set(found.labels) <= {0, 1}
    # The maximum is the score of the first detection; interpolation can only lower it.
    assert predictor.engine.best_scores(image).max() == pytest.approx(found.scores[0])
    assert 0 < predictor.heatmap(image).max() <= found.scores[0] * 1.001

    rarer = int(np.bincount(found.labels, minlength=2).argmin())
    one_class = Predictor(
        KerasEngine(detector, Thresholds(confidence=1e-4, max_boxes=7), labels=[rarer])
    )
    (chosen,) = one_class([image])
    assert set(chosen.labels) == {rarer}
    assert len(chosen) == 7 > sum(found.labels == rarer)
    detector.get_layer("head_p5_logits").bias.assign(np.full(21, np.nan))
    with pytest.raises(NanError):
        one_class([image])


@pytest.mark.parametrize("backbone", ["mobilenetv1", "cspdarknet_tiny"])
def test_frozen_predictor_gives_equal_results_and_keeps_its_weights(backbone):
    keras.utils.set_random_seed(0)  # with others, two scores may be so close that they swap
    width = 0.25 if backbone == "mobilenetv1" else None
    detector = Detector(backbone, 2, "v4-tiny", (64, 96), width)
    rng = np.random.default_rng(0)
    for weight in detector.weights:
        if weight.name.startswith("moving"):
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    thresholds = Thresholds(confidence=1e-4)
    live, frozen = (
        Predictor(KerasEngine(detector, thresholds, frozen=frozen)) for frozen in (False, True)
    )
    images = list(rng.integers(0, 256, (3, 64, 96, 3), np.uint8))
    for one, other in zip(live(images), frozen(images), strict=True):
        np.testing.assert_allclose(one.boxes, other.boxes, atol=1e-3)
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-5)
    heat = frozen.heatmap(images[0])
    np.testing.assert_allclose(heat, live.heatmap(images[0]), atol=1e-5)

    before = frozen(images[:1])[0].scores
    detector.get_layer("head_p5_logits").bias.assign_add(np.full(21, 3.0))
    np.testing.assert_array_equal(frozen(images[:1])[0].scores, before)
    assert live(images[:1])[0].scores[0] > before[0]
    np.testing.assert_array_equal(frozen.heatmap(images[0]), heat)
