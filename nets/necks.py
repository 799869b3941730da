"""Necks: (feat1, feat2, feat3) -> pyramid maps at strides 8, 16 and 32, or 16 and 32 if tiny.

The topologies are Darknet's, except `residual_panet`. efficientnet-yolo3-keras (`fpn`) and
mobilenet-yolov4-keras (`spp_panet`) use the same topologies with other channels and convolutions.
These are arguments here, so that weights of all three projects can be imported.
"""

from collections.abc import Sequence

from keras import KerasTensor, layers

from nets.backbones.registry import Features
from nets.blocks import ConvBlocks

Pyramid = tuple[KerasTensor, ...]


def fpn(features: Features, channels: Sequence[int], blocks: ConvBlocks) -> Pyramid:
    """YOLOv3's feature pyramid (Redmon and Farhadi 2018), top-down only.

    Args:
        features: Backbone maps at strides 8, 16 and 32.
        channels: Channels of the three maps that are returned.
        blocks: Style of the convolutions.

    Returns:
        Maps at strides 8, 16 and 32.
    """
    return _top_down(
        features, channels, blocks.five_convs(features[-1], channels[-1], "neck_p5"), blocks
    )


def spp_fpn(features: Features, channels: Sequence[int], blocks: ConvBlocks) -> Pyramid:
    """Like `fpn`, with spatial pyramid pooling on the coarsest level (yolov3-spp.cfg)."""
    return _top_down(features, channels, _spp(features[-1], channels[-1], blocks), blocks)


def tiny_fpn(features: Features, channels: Sequence[int], blocks: ConvBlocks) -> Pyramid:
    """The pyramid of two levels and two convolutions in yolov3-tiny.cfg and yolov4-tiny.cfg.

    Args:
        features: Backbone maps at strides 8, 16 and 32; the first is not used.
        channels: Channels of the convolution at each of the two levels.
        blocks: Style of the convolutions.

    Returns:
        Maps at strides 16 and 32. The first concatenates the upsampled second one and the map of
        the backbone.
    """
    _, feat2, feat3 = features
    n4, n5 = channels
    p5 = blocks.conv1x1(feat3, n5, "neck_p5")
    up = layers.UpSampling2D(name="neck_p5_up")(blocks.conv1x1(p5, n4, "neck_p5_lateral"))
    return layers.Concatenate(name="neck_p4_concat")([up, feat2]), p5


def spp_panet(features: Features, channels: Sequence[int], blocks: ConvBlocks) -> Pyramid:
    """YOLOv4's spatial pyramid pooling and path aggregation (Bochkovskiy et al. 2020).

    Arguments and return value are those of `fpn`.
    """
    feat1, feat2, feat3 = features
    n3, n4, n5 = channels

    p5 = _spp(feat3, n5, blocks)
    up = layers.UpSampling2D(name="neck_p5_up")(blocks.conv1x1(p5, n4, "neck_p5_lateral"))
    p4 = blocks.conv1x1(feat2, n4, "neck_feat2")
    p4 = layers.Concatenate(name="neck_p4_top_down_concat")([p4, up])
    p4 = blocks.five_convs(p4, n4, "neck_p4_top_down")
    up = layers.UpSampling2D(name="neck_p4_up")(blocks.conv1x1(p4, n3, "neck_p4_lateral"))
    p3 = blocks.conv1x1(feat1, n3, "neck_feat1")
    p3 = layers.Concatenate(name="neck_p3_concat")([p3, up])
    p3 = blocks.five_convs(p3, n3, "neck_p3")

    down = blocks.spatial_conv(p3, n4, "neck_p3_down", strides=2)
    p4 = layers.Concatenate(name="neck_p4_concat")([down, p4])
    p4 = blocks.five_convs(p4, n4, "neck_p4")
    down = blocks.spatial_conv(p4, n5, "neck_p4_down", strides=2)
    p5 = layers.Concatenate(name="neck_p5_concat")([down, p5])
    p5 = blocks.five_convs(p5, n5, "neck_p5")
    return p3, p4, p5


def residual_panet(features: Features, channels: Sequence[int], blocks: ConvBlocks) -> Pyramid:
    """Path aggregation with one residual block per fusion, as light as the backbones.

    Like the necks of NanoDet-Plus and PicoDet (Yu et al. 2021, arXiv 2111.00902), it has one block
    where `spp_panet` has five convolutions. Arguments and return value are those of `fpn`.
    """
    feat1, feat2, feat3 = features
    n3, n4, n5 = channels

    p5 = blocks.conv1x1(feat3, n5, "neck_feat3")
    pooled = blocks.conv1x1(_pool(p5), n5, "neck_spp")
    p5 = layers.Add(name="neck_spp_add")([p5, pooled])
    up = layers.UpSampling2D(name="neck_p5_up")(p5)
    p4 = blocks.conv1x1(feat2, n4, "neck_feat2")
    p4 = _fuse(p4, up, n4, "neck_p4_top_down", blocks)
    up = layers.UpSampling2D(name="neck_p4_up")(p4)
    p3 = blocks.conv1x1(feat1, n3, "neck_feat1")
    p3 = _fuse(p3, up, n3, "neck_p3", blocks)

    down = blocks.spatial_conv(p3, n4, "neck_p3_down", strides=2)
    p4 = _fuse(down, p4, n4, "neck_p4", blocks)
    down = blocks.spatial_conv(p4, n5, "neck_p4_down", strides=2)
    p5 = _fuse(down, p5, n5, "neck_p5", blocks)
    return p3, p4, p5


def _top_down(
    features: Features, channels: Sequence[int], p5: KerasTensor, blocks: ConvBlocks
) -> Pyramid:
    feat1, feat2, _ = features
    n3, n4, _ = channels
    up = layers.UpSampling2D(name="neck_p5_up")(blocks.conv1x1(p5, n4, "neck_p5_lateral"))
    p4 = blocks.five_convs(layers.Concatenate(name="neck_p4_concat")([up, feat2]), n4, "neck_p4")
    up = layers.UpSampling2D(name="neck_p4_up")(blocks.conv1x1(p4, n3, "neck_p4_lateral"))
    p3 = blocks.five_convs(layers.Concatenate(name="neck_p3_concat")([up, feat1]), n3, "neck_p3")
    return p3, p4, p5


def _spp(x: KerasTensor, filters: int, blocks: ConvBlocks) -> KerasTensor:
    x = blocks.conv1x1(x, filters, "neck_spp_1")
    x = blocks.spatial_conv(x, 2 * filters, "neck_spp_2")
    x = blocks.conv1x1(x, filters, "neck_spp_3")
    x = blocks.conv1x1(_pool(x), filters, "neck_spp_4")
    x = blocks.spatial_conv(x, 2 * filters, "neck_spp_5")
    return blocks.conv1x1(x, filters, "neck_spp_6")


def _pool(x: KerasTensor) -> KerasTensor:
    """Spatial pyramid pooling: maxima over three windows, and the features themselves."""
    pooled = [
        layers.MaxPooling2D(size, strides=1, padding="same", name=f"neck_spp_pool{size}")(x)
        for size in (13, 9, 5)
    ]
    return layers.Concatenate(name="neck_spp_concat")([*pooled, x])


def _fuse(
    a: KerasTensor, b: KerasTensor, filters: int, name: str, blocks: ConvBlocks
) -> KerasTensor:
    x = layers.Concatenate(name=f"{name}_concat")([a, b])
    x = blocks.conv1x1(x, filters, f"{name}_1")
    return layers.Add(name=f"{name}_add")([x, blocks.spatial_conv(x, filters, f"{name}_2")])


NECKS = {
    "fpn": fpn,
    "spp_fpn": spp_fpn,
    "spp_panet": spp_panet,
    "tiny_fpn": tiny_fpn,
    "residual_panet": residual_panet,
}
