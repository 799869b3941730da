import cv2
import numpy as np
import pytest

from utils.data.annotation import Sample
from utils.errors import UserError
from utils.evaluation.evaluator import predict_samples
from utils.inference.detections import Detections


class Frame:
    """Finds in every image one box, its frame, and scores it by the image's first pixel."""

    input_size = (32, 32)
    batch_size = 3

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


def sample(path, width, height):
    none = np.zeros(0)
    return Sample(
        path.stem, path, none.reshape(0, 4), none.astype(int), none.astype(bool), width, height
    )


def test_detections_come_in_order_and_in_pixels_of_the_photo(tmp_path):
    # From a quarter of the network's input to ten times it: the large ones are decoded reduced,
    # and their sides are no multiples of what they are reduced by.
    samples = []
    for i, (width, height) in enumerate([(8, 8), (40, 33), (321, 323), (101, 77), (32, 300)]):
        path = tmp_path / f"{i}.png"
        cv2.imwrite(str(path), np.full((height, width, 3), 10 * i, np.uint8))
        samples.append(sample(path, width, height))
    found = predict_samples(Frame(), samples, progress=False)
    assert [each.scores[0] * 255 for each in found] == pytest.approx([0, 10, 20, 30, 40])
    for each, one in zip(found, samples, strict=True):
        assert each.boxes.tolist() == [[0, 0, one.width, one.height]]


def test_an_empty_set_finds_nothing():
    assert predict_samples(Frame(), [], progress=False) == []


def test_an_image_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8 no picture")
    with pytest.raises(UserError, match=r"broken\.jpg"):
        predict_samples(Frame(), [sample(tmp_path / "broken.jpg", 9, 9)], progress=False)
