import numpy as np
import pytest
import tensorflow as tf

from nets.detector import Detector
from utils.letterbox import letterbox
from utils.predictor import Predictor


class RedFinder:
    """Stands in for a network: boxes the red pixels of each image."""

    input_size = (64, 96)

    def __init__(self):
        self.traces = 0
        self.score = tf.Variable(0.9)
        self.best = np.zeros((1, (8 * 12 + 4 * 6 + 2 * 3) * 3), np.float32)

    def detect(self, images, confidence, iou, max_boxes):
        self.traces += 1
        red = (images[..., 0] > 200) & (images[..., 1] < 50)
        columns = tf.reduce_any(red, axis=1)
        rows = tf.reduce_any(red, axis=2)
        corners = [first(columns), first(rows), last(columns), last(rows)]
        boxes = tf.cast(tf.stack(corners, axis=-1), tf.float32)[:, None]
        score = tf.fill(boxes.shape[:2], self.score)
        return {
            "boxes": boxes,
            "scores": score,
            "labels": tf.zeros(boxes.shape[:2], tf.int32),
            "counts": tf.cast(
                tf.reduce_any(red, axis=(1, 2)) & (score[:, 0] >= confidence), "int32"
            ),
        }

    def predict_boxes(self, images):
        return None, tf.constant(self.best)[..., None]


def first(flags):
    return tf.argmax(tf.cast(flags, tf.int32), axis=1)


def last(flags):
    return flags.shape[1] - first(flags[:, ::-1])


def picture(height, width, box=None):
    image = np.full((height, width, 3), 255, np.uint8)
    if box:
        xmin, ymin, xmax, ymax = box
        image[ymin:ymax, xmin:xmax] = (255, 0, 0)
    return image


@pytest.mark.parametrize(("height", "width"), [(200, 100), (100, 400), (37, 53), (640, 960)])
def test_boxes_come_back_in_the_images_own_pixels(height, width):
    box = (width // 4, height // 4, width * 3 // 4, height // 2)
    (found,) = Predictor(RedFinder())([picture(height, width, box)])
    a_network_pixel = max(height / 64, width / 96)
    np.testing.assert_allclose(found.boxes, [box], atol=1.5 * a_network_pixel)
    assert found.boxes.dtype == np.float32
    assert found.labels.dtype == np.int32


@pytest.mark.parametrize("batch_size", [1, 2, 4])
def test_a_last_batch_that_is_not_full_changes_nothing(batch_size):
    network = RedFinder()
    predictor = Predictor(network, batch_size=batch_size)
    images = [picture(64, 96, (8 * i, 8, 8 * i + 24, 40)) for i in range(5)]
    found = predictor(images)
    assert [list(d.boxes[0]) for d in found] == [[8 * i, 8, 8 * i + 24, 40] for i in range(5)]
    assert network.traces == 1
    assert predictor([]) == []


def test_weights_changed_later_are_seen_without_a_new_trace():
    network = RedFinder()
    predictor = Predictor(network, confidence=0.5)
    image = picture(64, 96, (8, 8, 24, 24))
    assert predictor([image])[0].scores == pytest.approx([0.9])
    network.score.assign(0.6)
    assert predictor([image])[0].scores == pytest.approx([0.6])
    network.score.assign(0.4)
    assert len(predictor([image])[0]) == 0
    assert network.traces == 1


def test_boxes_in_the_padding_only_are_dropped():
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
            }

    (found,) = Predictor(PaddingFinder())([picture(64, 32)])  # grey but for columns 32 to 64
    assert found.boxes.tolist() == [[8, 10, 28, 40]]


def test_heatmap_is_warmest_where_the_network_is_surest():
    network = RedFinder()
    row, column, anchor = 2, 9, 1  # of the 8 x 12 cells at stride 8
    network.best[0, (row * 12 + column) * 3 + anchor] = 0.8
    heat = Predictor(network).heatmap(picture(128, 192))  # twice the input
    assert heat.shape == (128, 192)
    y, x = np.unravel_index(heat.argmax(), heat.shape)
    # The cell's centre, (9.5, 2.5) * 8 pixels of the input, is at (152, 40) of the picture.
    assert (x, y) == (pytest.approx(152, abs=1), pytest.approx(40, abs=1))
    assert heat.max() == pytest.approx(0.8, rel=0.1)
    assert heat[40, 152 + 16 :].max() == 0


def test_heatmap_undoes_the_letterbox():
    network = RedFinder()
    network.best[0, -3 * 6 :] = [0.7] * 3 + [0] * 15  # the first of the 2 x 3 cells at stride 32
    heat = Predictor(network).heatmap(picture(100, 50))  # 32 of the 96 columns, from the 32nd on
    # That cell's centre (16, 16) of the input is 16 columns left of the picture, its right
    # neighbour's 16 columns inside: half of 0.7 is left at the border, nothing at the neighbour.
    assert heat[:24, 0] == pytest.approx(0.35, abs=0.02)
    assert heat[:, 26:].max() == 0
    assert heat[50, 0] == pytest.approx(0.35 / 2, abs=0.02)  # half way down to the next row


def test_a_real_detector_gives_what_it_gives_on_the_canvas():
    detector = Detector("mobilenetv1", num_classes=2, width=0.25, input_size=(64, 96))
    image = np.random.default_rng(0).integers(0, 256, (80, 80, 3), np.uint8)
    canvas, fit = letterbox(image, (64, 96))
    expected = detector.detect(canvas[None], confidence=1e-4, iou=0.5, max_boxes=7)
    (found,) = Predictor(detector, confidence=1e-4, iou=0.5, max_boxes=7)([image])
    boxes = fit.inverse(expected["boxes"][0].numpy())
    inside = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    assert inside.any()
    np.testing.assert_allclose(found.boxes, boxes[inside], atol=1e-2)
    np.testing.assert_allclose(found.scores, expected["scores"][0][inside], rtol=1e-4)
    heat = Predictor(detector).heatmap(image)
    assert 0 < heat.min() <= heat.max() < 1
