"""A service that finds boxes by their colours, and pictures for it, for tests of the pages."""

import cv2
import numpy as np

from tests.fake_runtime import RedSession, make_metadata
from utils.inference.engines.exported import ExportedEngine
from utils.inference.engines.session import RuntimeSettings
from utils.inference.predictor import Predictor
from utils.inference.thresholds import DEFAULT_THRESHOLDS
from utils.serving.network import Network

CLASSES = ("红/red", "green & <b>")
RED, GREEN = (0, 0, 255), (0, 255, 0)  # BGR


class ColourSession(RedSession):
    """Finds red pixels as class 0 with a score of 0.9, and green ones as class 1 with 0.3."""

    def run(self):
        outputs = super().run()
        height, width = self.images.shape[1:3]
        outputs["scores"][:, 0, 1] = 0
        for index, image in enumerate(self.images):
            rows, columns = np.nonzero((image[..., 1] > 200) & (image[..., 0] < 50))
            if len(rows):
                box = np.float32([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
                outputs["boxes"][index, 1] = box / [width, height, width, height]
                outputs["scores"][index, 1, 1] = 0.3
        return outputs


def colour_network():
    """A network on `ColourSession`."""
    metadata = make_metadata(classes=CLASSES)
    session = ColourSession(metadata, RuntimeSettings(1))
    engine = ExportedEngine(session, metadata, DEFAULT_THRESHOLDS)
    return Network({1: Predictor(engine)}, metadata, "colour finder")


def picture(red=None, green=None, size=(128, 192)):
    """White pixels (h, w, 3) BGR with a red and a green box."""
    image = np.full((*size, 3), 255, np.uint8)
    for box, colour in ((red, RED), (green, GREEN)):
        if box:
            xmin, ymin, xmax, ymax = box
            image[ymin:ymax, xmin:xmax] = colour
    return image


def save(path, image):
    """Writes an image file and returns its path."""
    path.write_bytes(cv2.imencode(path.suffix, image)[1].tobytes())
    return path
