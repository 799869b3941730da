import cv2
import numpy as np
import pytest

from utils.data.samples import Sample
from utils.errors import UserError
from utils.evaluation.evaluator import predict_samples
from utils.inference.detections import Detections


class WholeImagePredictor:
    """Detects one box per image: the whole image, with its first pixel as the score."""

    input_size = (32, 32)
    batch_size = 3

    def prepare(self, image):
        return image

    def __call__(self, images):
        assert len(images) <= self.batch_size
        return [
            Detections(
                np.array([[0, 0, image.shape[1], image.shape[0]]], np.float32),
                image[0, 0, :1] / np.float32(255),
                np.zeros(1, np.int32),
            )
            for image in images
        ]


def sample_without_objects(path, width, height):
    boxes, labels, difficult = np.zeros((0, 4)), np.zeros(0, int), np.zeros(0, bool)
    return Sample(path.stem, path, boxes, labels, difficult, width, height)


def test_detections_are_in_order_and_in_original_pixels(tmp_path):
    # Sizes from a quarter of the input size to ten times the input size. Large images are decoded
    # at a reduced size, by factors that do not divide their sides.
    samples = []
    for i, (width, height) in enumerate([(8, 8), (40, 33), (321, 323), (101, 77), (32, 300)]):
        path = tmp_path / f"{i}.png"
        cv2.imwrite(str(path), np.full((height, width, 3), 10 * i, np.uint8))
        samples.append(sample_without_objects(path, width, height))
    found = predict_samples(WholeImagePredictor(), samples, progress=False)
    assert [each.scores[0] * 255 for each in found] == pytest.approx([0, 10, 20, 30, 40])
    for each, sample in zip(found, samples, strict=True):
        assert each.boxes.tolist() == [[0, 0, sample.width, sample.height]]


def test_an_empty_set_has_no_detections():
    assert predict_samples(WholeImagePredictor(), [], progress=False) == []


def test_an_unreadable_image_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr("utils.data.reading.PAUSES", ())
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8 no picture")
    with pytest.raises(UserError, match=r"broken\.jpg"):
        sample = sample_without_objects(tmp_path / "broken.jpg", 9, 9)
        predict_samples(WholeImagePredictor(), [sample], progress=False)
