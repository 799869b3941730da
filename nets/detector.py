"""The detector: backbone -> neck -> head, with its loss and its detections."""

import keras
import numpy as np
import tensorflow as tf

from nets.anchors import DEFAULT_ANCHORS
from nets.assigner import assign
from nets.backbones import BackboneSpec, build_backbone, convention_named, resolve, usable_width
from nets.blocks import ConvBlocks
from nets.conventions import Convention
from nets.decoder import decode_boxes, make_priors
from nets.head import yolo_head
from nets.layers import Layers, make_divisible
from nets.losses import yolo_loss
from nets.necks import NECKS
from nets.nms import suppress
from nets.versions import VERSIONS, YoloVersion, with_conv


class Detector(keras.Model):
    """A YOLO detector with the backbone of your choice.

    `detector(images)` gives raw logits (B, P, 5 + C), see `nets.head`.

    Attributes:
        backbone: the backbone as a model of its own; `backbone.trainable = False` freezes it.
        version: the record that makes it a v3 or a v4.
        anchors: (levels, 3, 2) width and height in pixels, the smallest stride first.
        num_classes: number of classes C.
        input_size: height and width in pixels.
        convention: padding, epsilon and pixel scaling.
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
        convention: str | Convention | None = None,
    ) -> None:
        """Builds the graph with random weights.

        Args:
            backbone: any registered name.
            num_classes: number of classes.
            anchors: (levels, 3, 2) pixels; the version's published ones by default.
            version: a name in `nets.versions.VERSIONS` or a record of your own.
            conv: `plain` or `separable` in place of the version's kind.
            input_size: height and width in pixels, multiples of 32.
            width: the backbone's width factor; its default is 1.
            convention: padding, epsilon and pixel scaling that the weights want; the backbone's
                first if None.

        Raises:
            ValueError: if a name is unknown, a size is no multiple of 32, or there are anchors for
                another number of levels than the version has.
        """
        if isinstance(version, str):
            if version not in VERSIONS:
                raise ValueError(f"no YOLO version {version!r}; there are {', '.join(VERSIONS)}")
            version = VERSIONS[version]
        if conv is not None:
            version = with_conv(version, conv)
        if anchors is None:
            anchors = DEFAULT_ANCHORS[version.name]
        anchors = np.asarray(anchors, np.float32)
        if len(anchors) != len(version.scale_xy):
            raise ValueError(
                f"anchors for {len(anchors)} levels; {version.name} has {len(version.scale_xy)}"
            )
        spec = resolve(backbone)
        width = usable_width(spec, width)
        convention = convention_named(spec, convention)
        priors = make_priors(input_size, anchors, version.scale_xy)

        trunk = build_backbone(backbone, (*input_size, 3), width, convention)
        images = keras.Input((*input_size, 3), name="images")
        features = tuple(trunk(images))
        channels = _neck_channels(version, spec, width, features)
        blocks = ConvBlocks(Layers(convention), version.conv, version.activation)
        pyramid = NECKS[version.neck](features, channels, blocks)
        logits = yolo_head(pyramid, channels, num_classes, blocks)
        super().__init__(images, logits, name="detector")
        for model in (self, trunk):  # in training images may be smaller
            model.input_spec = keras.layers.InputSpec(shape=(None, None, None, 3))
        self.backbone = trunk
        self.version = version
        self.anchors = anchors
        self.num_classes = num_classes
        self.input_size = tuple(input_size)
        self.convention = convention
        self._priors = priors

    def compute_loss(
        self, images: tf.Tensor, boxes: tf.Tensor, labels: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Runs a training pass over a batch.

        The images may be of another size than `input_size`; the anchors are then scaled with them.

        Args:
            images: (B, H, W, 3) RGB in 0..255, of static shape, H and W multiples of 32.
            boxes: (B, N, 4) ground truth as xyxy pixels of the images.
            labels: (B, N) int, -1 for padding.

        Returns:
            Named loss terms, see `nets.losses.yolo_loss`.

        Raises:
            ValueError: if a side of the images is no multiple of 32.
        """
        version, size = self.version, tuple(images.shape[1:3])
        scale = np.divide(size, self.input_size, dtype=np.float32)[::-1]
        anchors = self.anchors * scale
        priors = make_priors(size, anchors, version.scale_xy)
        logits = self(tf.cast(images, tf.float32), training=True)
        assignment = assign(boxes, labels, anchors, size, version.match_iou, version.neighbours)
        return yolo_loss(logits, boxes, labels, assignment, priors, version, size)

    def predict_boxes(self, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Gives every prediction, before any is dropped.

        Args:
            images: (B, H, W, 3) RGB in 0..255.

        Returns:
            Boxes (B, P, 4) xyxy pixels of the input, and scores (B, P, C), objectness times class.

        Raises:
            ValueError: if the images are not of `input_size`.
        """
        if tuple(images.shape[1:3]) != self.input_size:
            raise ValueError(f"images {images.shape[1:3]}; the detector takes {self.input_size}")
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

    def as_constants(self) -> keras.StatelessScope:
        """A scope that is opened while a graph is traced: in it weights are constants.

        The graph keeps the weights as they are now. TensorFlow folds its batch normalizations into
        the convolutions before it first runs, and looks no weight up when it runs.
        """
        with tf.init_scope():  # out of the graph, where weights have values
            values = [variable.numpy() for variable in self.variables]
        constants = map(tf.constant, values)
        return keras.StatelessScope(state_mapping=list(zip(self.variables, constants, strict=True)))


def _neck_channels(
    version: YoloVersion, spec: BackboneSpec, width: float, features: tuple[keras.KerasTensor, ...]
) -> tuple[int, ...]:
    """Channels of the neck at each level: the version's, the backbone's, or its features'."""
    channels = version.neck_channels or spec.neck_channels
    if channels is None:
        return tuple(feature.shape[-1] for feature in features)
    return tuple(make_divisible(channel * width) for channel in channels)
