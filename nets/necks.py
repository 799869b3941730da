"""Necks: (feat1, feat2, feat3) -> three pyramid maps at strides 8, 16, 32.

The topologies are those of efficientnet-yolo3-keras (`fpn`) and mobilenet-yolov4-keras
(`spp_panet`), so that detectors trained there can be carried over.
"""

from keras import KerasTensor, layers

from nets.backbones.layers import make_divisible
from nets.blocks import ConvBlocks

Pyramid = tuple[KerasTensor, KerasTensor, KerasTensor]


def fpn(features: Pyramid, blocks: ConvBlocks, width: float) -> Pyramid:
    """YOLOv3's feature pyramid (Redmon and Farhadi 2018), top-down only.

    Args:
        features: backbone maps at strides 8, 16, 32.
        blocks: style of the convolutions.
        width: ignored: the pyramid is as wide as the backbone's maps.

    Returns:
        Maps at strides 8, 16, 32 with the backbone's channels.
    """
    del width
    feat1, feat2, feat3 = features
    n3, n4, n5 = (feature.shape[-1] for feature in features)
    p5 = blocks.five(feat3, n5, "neck_p5")
    up = layers.UpSampling2D(name="neck_p5_up")(blocks.conv1x1(p5, n4, "neck_p5_lateral"))
    p4 = blocks.five(layers.Concatenate(name="neck_p4_concat")([up, feat2]), n4, "neck_p4")
    up = layers.UpSampling2D(name="neck_p4_up")(blocks.conv1x1(p4, n3, "neck_p4_lateral"))
    p3 = blocks.five(layers.Concatenate(name="neck_p3_concat")([up, feat1]), n3, "neck_p3")
    return p3, p4, p5


def spp_panet(features: Pyramid, blocks: ConvBlocks, width: float) -> Pyramid:
    """YOLOv4's spatial pyramid pooling and path aggregation (Bochkovskiy et al. 2020).

    Args:
        features: backbone maps at strides 8, 16, 32.
        blocks: style of the convolutions.
        width: the backbone's width factor, which scales 128, 256 and 512 channels.

    Returns:
        Maps at strides 8, 16, 32 with 128, 256 and 512 channels times `width`.
    """
    feat1, feat2, feat3 = features
    n3, n4, n5 = (make_divisible(channels * width) for channels in (128, 256, 512))

    p5 = _spp(feat3, n5, blocks)
    up = layers.UpSampling2D(name="neck_p5_up")(blocks.conv1x1(p5, n4, "neck_p5_lateral"))
    p4 = blocks.conv1x1(feat2, n4, "neck_feat2")
    p4 = layers.Concatenate(name="neck_p4_top_down_concat")([p4, up])
    p4 = blocks.five(p4, n4, "neck_p4_top_down")
    up = layers.UpSampling2D(name="neck_p4_up")(blocks.conv1x1(p4, n3, "neck_p4_lateral"))
    p3 = blocks.conv1x1(feat1, n3, "neck_feat1")
    p3 = layers.Concatenate(name="neck_p3_concat")([p3, up])
    p3 = blocks.five(p3, n3, "neck_p3")

    down = blocks.conv3x3(p3, n4, "neck_p3_down", strides=2)
    p4 = layers.Concatenate(name="neck_p4_concat")([down, p4])
    p4 = blocks.five(p4, n4, "neck_p4")
    down = blocks.conv3x3(p4, n5, "neck_p4_down", strides=2)
    p5 = layers.Concatenate(name="neck_p5_concat")([down, p5])
    p5 = blocks.five(p5, n5, "neck_p5")
    return p3, p4, p5


def _spp(x: KerasTensor, filters: int, blocks: ConvBlocks) -> KerasTensor:
    x = blocks.conv1x1(x, filters, "neck_spp_1")
    x = blocks.conv3x3(x, 2 * filters, "neck_spp_2")
    x = blocks.conv1x1(x, filters, "neck_spp_3")
    pooled = [
        layers.MaxPooling2D(size, strides=1, padding="same", name=f"neck_spp_pool{size}")(x)
        for size in (13, 9, 5)
    ]
    x = layers.Concatenate(name="neck_spp_concat")([*pooled, x])
    x = blocks.conv1x1(x, filters, "neck_spp_4")
    x = blocks.conv3x3(x, 2 * filters, "neck_spp_5")
    return blocks.conv1x1(x, filters, "neck_spp_6")


NECKS = {"fpn": fpn, "spp_panet": spp_panet}
