"""Detectors as the predecessors built and saved them.

Written from the description of their networks with plain Keras layers, numbered as in Keras 2, over
backbones of keras.applications and a GhostNet; shares nothing with nets/.
"""

import h5py
import keras
import numpy as np
from keras import applications, layers

CLASSES = ["cat", "dog"]
OUTPUTS = 3 * (5 + len(CLASSES))
SIZE = 416


class Numbered:
    """Creates layers called conv2d_1, conv2d_2, ..., numbered by kind in the order of creation."""

    def __init__(self, activation):
        self.counts = {}
        self.activation = activation

    def make(self, kind, layer, *args, **options):
        number = self.counts[kind] = self.counts.get(kind, 0) + 1
        return layer(*args, name=f"{kind}_{number}", **options)

    def norm(self, x):
        x = self.make("batch_normalization", layers.BatchNormalization, epsilon=1e-3)(x)
        return self.activation()(x)

    def conv(self, x, filters, kernel=1):
        options = {"padding": "same", "use_bias": False}
        return self.norm(self.make("conv2d", layers.Conv2D, filters, kernel, **options)(x))

    def separable(self, x, filters, strides=1):
        options = {"strides": strides, "padding": "same", "use_bias": False}
        x = self.make("depthwise_conv2d", layers.DepthwiseConv2D, 3, **options)(x)
        return self.conv(self.norm(x), filters)

    def output(self, x):
        return self.make("conv2d", layers.Conv2D, OUTPUTS, 1)(x)


def build_v3(feat1, feat2, feat3):
    net = Numbered(lambda: layers.LeakyReLU(negative_slope=0.1))

    def five(x, n):
        for filters, kernel in ((n, 1), (2 * n, 3), (n, 1), (2 * n, 3), (n, 1)):
            x = net.conv(x, filters, kernel)
        return x

    n3, n4, n5 = (feature.shape[-1] for feature in (feat1, feat2, feat3))
    x = five(feat3, n5)
    p5 = net.output(net.conv(x, 2 * n5, 3))
    x = layers.Concatenate()([layers.UpSampling2D(2)(net.conv(x, n4)), feat2])
    x = five(x, n4)
    p4 = net.output(net.conv(x, 2 * n4, 3))
    x = layers.Concatenate()([layers.UpSampling2D(2)(net.conv(x, n3)), feat1])
    x = five(x, n3)
    return [p5, p4, net.output(net.conv(x, 2 * n3, 3))]


def build_v4(feat1, feat2, feat3, alpha):
    net = Numbered(lambda: layers.ReLU(6.0))
    n3, n4, n5 = (int(n * alpha) for n in (128, 256, 512))

    def five(x, n):
        x = net.separable(net.conv(x, n), 2 * n)
        return net.conv(net.separable(net.conv(x, n), 2 * n), n)

    p5 = net.conv(net.separable(net.conv(feat3, n5), 2 * n5), n5)
    pools = [layers.MaxPooling2D(n, strides=1, padding="same")(p5) for n in (13, 9, 5)]
    p5 = net.conv(layers.Concatenate()([*pools, p5]), n5)
    p5 = net.conv(net.separable(p5, 2 * n5), n5)
    up = layers.UpSampling2D(2)(net.conv(p5, n4))
    p4 = five(layers.Concatenate()([net.conv(feat2, n4), up]), n4)
    up = layers.UpSampling2D(2)(net.conv(p4, n3))
    p3 = five(layers.Concatenate()([net.conv(feat1, n3), up]), n3)
    out3 = net.output(net.separable(p3, 2 * n3))
    p4 = five(layers.Concatenate()([net.separable(p3, n4, 2), p4]), n4)
    out4 = net.output(net.separable(p4, 2 * n4))
    p5 = five(layers.Concatenate()([net.separable(p4, n5, 2), p5]), n5)
    return [net.output(net.separable(p5, 2 * n5)), out4, out3]


# Blocks of their GhostNet: kernel size, hidden channels, channels, whether squeezed, strides.
GHOSTNET = {
    "0.0": (3, 16, 16, False, 1),
    "1.0": (3, 48, 24, False, 2),
    "2.0": (3, 72, 24, False, 1),
    "3.0": (5, 72, 40, True, 2),
    "4.0": (5, 120, 40, True, 1),
    "5.0": (3, 240, 80, False, 2),
    "6.0": (3, 200, 80, False, 1),
    "6.1": (3, 184, 80, False, 1),
    "6.2": (3, 184, 80, False, 1),
    "6.3": (3, 480, 112, True, 1),
    "6.4": (3, 672, 112, True, 1),
    "7.0": (5, 672, 160, True, 2),
    "8.0": (5, 960, 160, False, 1),
    "8.1": (5, 960, 160, True, 1),
    "8.2": (5, 960, 160, False, 1),
    "8.3": (5, 960, 160, True, 1),
}


def build_ghostnet(images):
    """Features of their GhostNet, from the ends of blocks 4.0, 6.4 and 8.3."""

    def conv(x, filters, name, norm, relu=False, kernel=1, strides=1):
        options = {"strides": strides, "padding": "same", "use_bias": False, "name": name}
        if filters is None:
            x = layers.DepthwiseConv2D(kernel, **options)(x)
        else:
            x = layers.Conv2D(filters, kernel, **options)(x)
        x = layers.BatchNormalization(name=norm)(x)
        return layers.ReLU()(x) if relu else x

    def ghost(x, filters, name, relu):
        first, second = f"{name}.primary_conv", f"{name}.cheap_operation"
        x = conv(x, filters // 2, f"{first}.0", f"{first}.1", relu)
        cheap = conv(x, None, f"{second}.0", f"{second}.1", relu, kernel=3)
        return layers.Concatenate()([x, cheap])

    def gate(x, name):
        channels = x.shape[-1]
        # A quarter of the channels, rounded to a multiple of 4: their _make_divisible.
        squeezed = (channels // 4 + 2) // 4 * 4
        y = layers.GlobalAveragePooling2D(keepdims=True)(x)
        y = layers.Conv2D(squeezed, 1, activation="relu", name=f"{name}.se.conv_reduce")(y)
        y = layers.Conv2D(channels, 1, name=f"{name}.se.conv_expand")(y)
        # The hard_sigmoid of Keras before version 3.
        return layers.Multiply()([x, keras.ops.clip(0.2 * y + 0.5, 0, 1)])

    x, ends = conv(images, 16, "conv_stem", "bn1", relu=True, kernel=3, strides=2), {}
    for block, (kernel, hidden, filters, squeezed, strides) in GHOSTNET.items():
        inputs, name = x, f"blocks.{block}"
        x = ghost(inputs, hidden, f"{name}.ghost1", relu=True)
        if strides == 2:
            x = conv(x, None, f"{name}.conv_dw", f"{name}.bn_dw", kernel=kernel, strides=2)
        if squeezed:
            x = gate(x, name)
        x = ghost(x, filters, f"{name}.ghost2", relu=False)
        if strides == 2 or inputs.shape[-1] != filters:
            name = f"{name}.shortcut"
            options = {"kernel": kernel, "strides": strides}
            inputs = conv(inputs, None, f"{name}.0", f"{name}.1", **options)
            inputs = conv(inputs, filters, f"{name}.2", f"{name}.3")
        ends[block] = x = layers.Add()([inputs, x])
    return [ends[block] for block in ("4.0", "6.4", "8.3")]


def build(backbone, alpha):
    """A detector of a predecessor, from pixels of 0..1 to the three outputs."""
    shape = {"input_shape": (SIZE, SIZE, 3), "include_top": False, "weights": None}
    if backbone == "ghostnet":
        images = keras.Input((SIZE, SIZE, 3))
        return keras.Model(images, build_v4(*build_ghostnet(images), alpha))
    if backbone.startswith("efficientnet"):
        trunk = getattr(applications, f"EfficientNetB{backbone[-1]}")(**shape)
        # Inputs of stages 4 and 6 and output of stage 7. Their networks do not scale the pixels.
        following = ("block4a_expand_conv", "block6a_expand_conv", "top_conv")
        features = [trunk.get_layer(layer).input for layer in following]
        return keras.Model(trunk.get_layer("stem_conv_pad").input, build_v3(*features))
    if backbone == "mobilenetv1":
        trunk = applications.MobileNet(alpha=alpha, **shape)
        taps = ("conv_pw_5_relu", "conv_pw_11_relu", "conv_pw_13_relu")
    elif backbone == "mobilenetv2":
        trunk = applications.MobileNetV2(alpha=alpha, **shape)
        taps = ("block_5_add", "block_12_add", "block_16_project_BN")
    else:
        trunk = applications.MobileNetV3Large(alpha=alpha, include_preprocessing=False, **shape)
        taps = [f"expanded_conv_{number}_add" for number in (5, 11, 14)]
    features = [trunk.get_layer(tap).output for tap in taps]
    return keras.Model(trunk.input, build_v4(*features, alpha))


def randomize(model):
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if weight.name in ("gamma", "moving_variance"):
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
        elif weight.name in ("beta", "moving_mean", "bias"):
            weight.assign(rng.normal(0, 0.3, weight.shape))
        else:
            fan_in = np.prod(weight.shape[:2] if weight.shape[-1] == 1 else weight.shape[:-1])
            weight.assign(rng.normal(0, fan_in**-0.5, weight.shape))


def mobilenetv3_name(layer):
    """The name in their MobileNetV3: slashes replace underscores of keras.applications."""
    name = layer.name
    if name in ("conv", "conv_bn"):
        return {"conv": "Conv", "conv_bn": "Conv/BatchNorm"}[name]
    if not name.startswith("expanded_conv"):
        return name
    for part in ("expand", "depthwise", "project"):
        name = name.replace(f"_{part}_bn", f"/{part}/BatchNorm")
        name = name.removesuffix(f"_{part}") + (f"/{part}" if name.endswith(f"_{part}") else "")
    return name.replace("_squeeze_excite_conv", "/squeeze_excite/Conv")


def write_h5(path, model, rename=lambda layer: layer.name, group=None):
    """Writes the weights of a model in the format of Keras 2."""
    with h5py.File(path, "a") as file:
        root = file.create_group(group) if group else file
        root.attrs["layer_names"] = [rename(layer).encode() for layer in model.layers]
        for layer in model.layers:
            name = rename(layer)
            weights = [f"{name}/{weight.name}:0" for weight in layer.weights]
            layer_group = root.require_group(name)
            layer_group.attrs["weight_names"] = [weight.encode() for weight in weights]
            for key, value in zip(weights, layer.get_weights(), strict=True):
                layer_group.create_dataset(key, data=value)
