"""The detector: backbone -> neck -> head, with its loss and its detections."""

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from nets.anchors import V3_ANCHORS, V4_ANCHORS
from nets.assigner import assign
from nets.backbones import Convention, build_backbone, resolve
from nets.blocks import ConvBlocks
from nets.decoder import decode_boxes, make_priors
from nets.head import yolo_head
from nets.losses import yolo_loss
from nets.necks import NECKS
from nets.nms import suppress
from nets.versions import VERSIONS, YoloVersion

DEFAULT_ANCHORS = {"v3": V3_ANCHORS, "v4": V4_ANCHORS}


class Detector(keras.Model):
    """A YOLO detector with the backbone of your choice.

    `detector(images)` gives raw logits (B, P, 5 + C), see `nets.head`.

    Attributes:
        backbone: the backbone as a model of its own; `backbone.trainable = False` freezes it.
        version: the record that makes it a v3 or a v4.
        anchors: (3, 3, 2) width and height in pixels, stride 8 first.
        num_classes: number of classes C.
        input_size: height and width in pixels.
    """

    def __init__(
        self,
        backbone: str = "mobilenetv2",
        num_classes: int = 20,
        anchors: np.ndarray | None = None,
        version: str | YoloVersion = "v4",
        conv: str | None = None,
        input_size: tuple[int, int] = (416, 416),
        width: float | None = None,
        convention: str | Convention = "keras",
    ) -> None:
        """Builds the graph with random weights.

        Args:
            backbone: any registered name.
            num_classes: number of classes.
            anchors: (3, 3, 2) pixels; the version's published ones by default.
            version: `v3`, `v4` or a record of your own.
            conv: `plain` or `separable` in place of the version's kind.
            input_size: height and width in pixels, multiples of 32.
            width: the backbone's width factor; its default is 1.
            convention: padding, epsilon and pixel scaling of the backbone's weights.

        Raises:
            ValueError: if a name is unknown, or a size is no multiple of 32.
        """
        if isinstance(version, str):
            if version not in VERSIONS:
                raise ValueError(f"YOLO version {version!r} is unknown; use v3 or v4")
            version = VERSIONS[version]
        if conv is not None:
            version = dataclasses.replace(version, conv=conv)
        if anchors is None:
            anchors = DEFAULT_ANCHORS[version.name]
        anchors = np.asarray(anchors, np.float32)
        priors = make_priors(input_size, anchors, version.scale_xy)

        trunk = build_backbone(backbone, (*input_size, 3), width=width, convention=convention)
        images = keras.Input((*input_size, 3), name="images")
        blocks = ConvBlocks(version.conv, version.activation)
        pyramid = NECKS[version.neck](
            tuple(trunk(images)), blocks, width or resolve(backbone).default_width
        )
        super().__init__(images, yolo_head(pyramid, num_classes, blocks), name="detector")
        self.backbone = trunk
        self.version = version
        self.anchors = anchors
        self.num_classes = num_classes
        self.input_size = tuple(input_size)
        self._priors = priors

    def compute_loss(
        self, images: tf.Tensor, boxes: tf.Tensor, labels: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Runs a training pass over a batch.

        Args:
            images: (B, H, W, 3) RGB in 0..255, B static.
            boxes: (B, N, 4) ground truth as xyxy pixels of the input.
            labels: (B, N) int, -1 for padding.

        Returns:
            Named loss terms, see `nets.losses.yolo_loss`.
        """
        logits = self(tf.cast(images, tf.float32), training=True)
        version = self.version
        assignment = assign(
            boxes, labels, self.anchors, self.input_size, version.match_iou, version.neighbours
        )
        return yolo_loss(logits, boxes, labels, assignment, self._priors, version, self.input_size)

    def predict_boxes(self, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Gives every prediction, before any is dropped.

        Args:
            images: (B, H, W, 3) RGB in 0..255.

        Returns:
            Boxes (B, P, 4) xyxy pixels of the input, and scores (B, P, C), objectness times class.
        """
        return self.decode(self(tf.cast(images, tf.float32), training=False))

    def decode(self, logits: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Boxes and scores of logits (B, P, 5 + C), as `predict_boxes` gives them."""
        priors = self._priors
        boxes = decode_boxes(logits, priors.cells, priors.strides, priors.anchors, priors.scale_xy)
        scores = tf.sigmoid(logits[..., 4:5]) * tf.sigmoid(logits[..., 5:])
        return boxes, scores

    def detect(
        self,
        images: tf.Tensor,
        confidence: float | tf.Tensor = 0.5,
        iou: float | tf.Tensor = 0.3,
        max_boxes: int = 100,
    ) -> dict[str, tf.Tensor]:
        """Finds the objects of a batch of letterboxed images.

        Args:
            images: (B, H, W, 3) RGB in 0..255.
            confidence: lowest score that is kept.
            iou: highest overlap that two boxes of a class may have.
            max_boxes: the most that is kept of an image.

        Returns:
            `boxes`, `scores`, `labels` and `counts`, see `nets.nms.suppress`.
        """
        return suppress(*self.predict_boxes(images), confidence, iou, max_boxes)
