"""The detector: backbone -> neck -> head, with its loss and its detections."""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from nets.assigner import GroundTruth, assign
from nets.backbones import (
    BackboneSpec,
    build_backbone,
    convention_named,
    resolve,
    usable_width,
)
from nets.blocks import ConvBlocks
from nets.conventions import Convention
from nets.decoder import decode_boxes, make_priors
from nets.head import yolo_head
from nets.layers import Layers, make_divisible
from nets.losses import yolo_loss
from nets.necks import NECKS
from nets.nms import suppress
from nets.versions import VERSIONS, YoloVersion, check_input_size


class Detector(keras.Model):
    """A YOLO detector over any registered backbone.

    `detector(images)` returns raw logits (B, P, 5 + C), see `nets.head`.

    Attributes:
        backbone: The backbone as a separate model; `backbone.trainable = False` freezes it.
        backbone_name: Registered name of the backbone.
        width: Width multiplier of the backbone.
        version: The YOLO version.
        anchors: (levels, 3, 2) width and height in pixels, smallest stride first.
        num_classes: Number of classes C.
        input_size: Height and width in pixels.
        convention: Padding, epsilon and pixel scaling that the weights assume.
    """

    def __init__(
        self,
        backbone: str = "mobilenetv2",
        num_classes: int = 20,
        version: str | YoloVersion = "v4",
        input_size: tuple[int, int] = (416, 416),
        width: float | None = None,
        convention: str | Convention | None = None,
    ) -> None:
        """Builds the graph with random weights.

        Args:
            backbone: Any registered name.
            num_classes: Number of classes.
            version: A name in `nets.versions.VERSIONS`, or a record.
            input_size: Height and width in pixels, multiples of 32.
            width: Width multiplier of the backbone; None for its default.
            convention: Convention of the weights that will be loaded; None for the first one of
                the backbone.

        Raises:
            ValueError: A name is unknown, or a side of the input is not a multiple of 32.
        """
        if isinstance(version, str):
            if version not in VERSIONS:
                raise ValueError(
                    f"no YOLO version {version!r}; choose one of {', '.join(VERSIONS)}"
                )
            version = VERSIONS[version]
        spec = resolve(backbone)
        width = usable_width(spec, width)
        convention = convention_named(spec, convention)
        anchors = version.anchor_array
        priors = make_priors(input_size, anchors, version.scale_xy)

        trunk = build_backbone(backbone, (*input_size, 3), width, convention)
        images = keras.Input((*input_size, 3), name="images")
        features = tuple(trunk(images))
        channels = _neck_channels(version, spec, width, features)
        layers = Layers(convention)
        blocks = ConvBlocks(layers, version.conv, version.activation, version.kernel_size)
        pyramid = NECKS[version.neck](features, channels, blocks)
        filters = [version.head_expansion * channel for channel in channels]
        logits = yolo_head(pyramid, filters, num_classes, blocks)
        super().__init__(images, logits, name="detector")
        for model in (self, trunk):  # training may use smaller images
            model.input_spec = keras.layers.InputSpec(shape=(None, None, None, 3))
        self.backbone = trunk
        self.backbone_name = spec.name
        self.width = width
        self.version = version
        self.anchors = anchors
        self.num_classes = num_classes
        self.input_size = tuple(input_size)
        self.convention = convention
        self._priors = priors

    def compute_loss(
        self, images: tf.Tensor, boxes: tf.Tensor, labels: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Computes the loss of a batch in training mode.

        The size of the images may differ from `input_size`; the anchors are scaled accordingly.

        Args:
            images: (B, H, W, 3) RGB in 0..255, of static shape, H and W multiples of 32.
            boxes: (B, N, 4) ground truth as xyxy pixels of the images.
            labels: (B, N) int, -1 for padding.

        Returns:
            Named loss terms, see `nets.losses.yolo_loss`.

        Raises:
            ValueError: A side of the images is not a multiple of 32.
        """
        size = tuple(images.shape[1:3])
        check_input_size(size)
        logits = self(tf.cast(images, tf.float32), training=True)
        with tf.name_scope("loss"):
            return self.loss_of(logits, GroundTruth(boxes, labels), size)[0]

    def loss_of(
        self, logits: tf.Tensor, truth: GroundTruth, size: tuple[int, int]
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        """Computes the loss from the logits of a batch.

        Args:
            logits: (B, P, 5 + C), see `nets.head`.
            truth: Objects of the batch.
            size: Height and width of the images in pixels.

        Returns:
            Named loss terms, see `nets.losses.yolo_loss`, and the number of positives.
        """
        version = self.version
        scale = np.divide(size, self.input_size, dtype=np.float32)[::-1]
        anchors = self.anchors * scale
        priors = make_priors(size, anchors, version.scale_xy)
        assignment = assign(truth, anchors, size, version.match_iou, version.neighbours)
        terms = yolo_loss(logits, truth, assignment, priors, version, size)
        return terms, tf.reduce_sum(assignment.is_positive)

    def predict_boxes(self, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns all predictions, before non-maximum suppression.

        Args:
            images: (B, H, W, 3) RGB in 0..255.

        Returns:
            Boxes (B, P, 4) as xyxy pixels of the input, and scores (B, P, C), objectness times
            class probability.

        Raises:
            ValueError: The images are not of `input_size`.
        """
        if tuple(images.shape[1:3]) != self.input_size:
            raise ValueError(f"images of {images.shape[1:3]}; the detector needs {self.input_size}")
        return self.decode(self(tf.cast(images, tf.float32), training=False))

    def decode(self, logits: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Turns logits (B, P, 5 + C) into boxes and scores as `predict_boxes` returns them."""
        scores = tf.sigmoid(logits[..., 4:5]) * tf.sigmoid(logits[..., 5:])
        return decode_boxes(logits, self._priors), scores

    def detect(
        self,
        images: tf.Tensor,
        confidence: float | tf.Tensor = 0.5,
        iou: float | tf.Tensor = 0.3,
        max_boxes: int = 100,
        labels: Sequence[int] | None = None,
    ) -> dict[str, tf.Tensor]:
        """Finds the objects in a batch of letterboxed images.

        Args:
            images: (B, H, W, 3) RGB in 0..255.
            confidence: Minimum score of a box.
            iou: Maximum IoU of two boxes of one class.
            max_boxes: Maximum number of boxes per image.
            labels: The classes to find; None for all.

        Returns:
            `boxes`, `scores`, `labels`, `counts` and `is_nan`, see `nets.nms.suppress`.
        """
        return suppress(*self.predict_boxes(images), confidence, iou, max_boxes, labels)

    def as_constants(self) -> keras.StatelessScope:
        """Returns a scope in which traced graphs hold the current weights as constants.

        Before the first run of such a graph, TensorFlow folds batch normalizations into the
        convolutions. Later runs read no variables.
        """
        with tf.init_scope():  # outside of the graph, where variables have values
            values = [variable.numpy() for variable in self.variables]
        constants = map(tf.constant, values)
        return keras.StatelessScope(state_mapping=list(zip(self.variables, constants, strict=True)))


def _neck_channels(
    version: YoloVersion, spec: BackboneSpec, width: float, features: tuple[keras.KerasTensor, ...]
) -> tuple[int, ...]:
    """Channels of the neck at each level, as set by the version, the backbone or its features."""
    channels = version.neck_channels or spec.neck_channels
    factor = width * version.neck_width
    if channels is None:
        channels, factor = [feature.shape[-1] for feature in features], version.neck_width
    return tuple(channels if factor == 1 else (make_divisible(c * factor) for c in channels))
