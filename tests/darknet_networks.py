"""Darknet's networks, written in the order of its own .cfg files, with random weights.

Shares nothing with utils/weights/darknet/ or nets/: what these read from the files is compared with
what OpenCV 4 reads.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np

V3_ANCHORS = "10,13, 16,30, 33,23, 30,61, 62,45, 59,119, 116,90, 156,198, 373,326"
V4_ANCHORS = "12,16, 19,36, 40,28, 36,75, 76,55, 72,146, 142,110, 192,243, 459,401"
TINY_ANCHORS = "10,14, 23,27, 37,58, 81,82, 135,169, 344,319"

OPENCV4 = Path(sys.prefix) / "opencv4"  # installed by `make venv`, apart from OpenCV 5


class Cfg:
    """Collects the text of a .cfg and the shapes of its convolutions."""

    def __init__(self, height, width, classes):
        self.text = f"[net]\n# random\nbatch=1\nwidth={width}\nheight={height}\nchannels=3\n"
        self.classes = classes
        self.channels = []  # of the output of each layer
        self.convolutions = []  # (filters, input channels, size, whether normalized)

    @property
    def last(self):
        return len(self.channels) - 1

    def layer(self, kind, channels, **options):
        self.text += f"\n[{kind}]\n" + "".join(f"{key}={options[key]}\n" for key in options)
        self.channels.append(channels)

    def conv(self, filters, size=1, stride=1, activation="leaky", normalize=True):
        inputs = self.channels[-1] if self.channels else 3
        self.convolutions.append((filters, inputs, size, normalize))
        options = {"batch_normalize": 1} if normalize else {}
        options |= {"filters": filters, "size": size, "stride": stride, "pad": 1}
        self.layer("convolutional", filters, **options, activation=activation)

    def convs(self, *filters_and_sizes, activation="leaky"):
        for filters, size in filters_and_sizes:
            self.conv(filters, size, activation=activation)

    def route(self, *layers):
        channels = sum(self.channels[i] for i in layers)
        self.layer("route", channels, layers=",".join(map(str, layers)))

    def second_half(self):
        self.layer("route", self.channels[-1] // 2, layers=-1, groups=2, group_id=1)

    def shortcut(self):
        self.layer("shortcut", self.channels[-1], **{"from": -3, "activation": "linear"})

    def maxpool(self, size, stride):
        self.layer("maxpool", self.channels[-1], size=size, stride=stride)

    def upsample(self):
        self.layer("upsample", self.channels[-1], stride=2)

    def yolo(self, mask, anchors, **options):
        self.conv(3 * (5 + self.classes), activation="linear", normalize=False)
        options |= {"mask": mask, "anchors": anchors, "classes": self.classes, "jitter": 0.3}
        self.layer("yolo", self.channels[-1], **options, num=anchors.count(",") // 2 + 1)


def spp(cfg):
    cfg.maxpool(5, 1)
    cfg.route(-2)
    cfg.maxpool(9, 1)
    cfg.route(-4)
    cfg.maxpool(13, 1)
    cfg.route(-1, -3, -5, -6)


def five(cfg, n):
    cfg.convs((n, 1), (2 * n, 3), (n, 1), (2 * n, 3), (n, 1))


def yolov3(cfg, pooled=False):
    cfg.conv(32, 3)
    ends = []
    for channels, blocks in ((64, 1), (128, 2), (256, 8), (512, 8), (1024, 4)):
        cfg.conv(channels, 3, 2)
        for _ in range(blocks):
            cfg.convs((channels // 2, 1), (channels, 3))
            cfg.shortcut()
        ends.append(cfg.last)
    if pooled:
        cfg.convs((512, 1), (1024, 3), (512, 1))
        spp(cfg)
        cfg.convs((512, 1), (1024, 3), (512, 1))
    else:
        five(cfg, 512)
    cfg.conv(1024, 3)
    cfg.yolo("6,7,8", V3_ANCHORS)
    for n, end, mask in ((256, ends[3], "3,4,5"), (128, ends[2], "0,1,2")):
        cfg.route(-4)
        cfg.conv(n)
        cfg.upsample()
        cfg.route(-1, end)
        five(cfg, n)
        cfg.conv(2 * n, 3)
        cfg.yolo(mask, V3_ANCHORS)


def yolov3_spp(cfg):
    yolov3(cfg, pooled=True)


def yolov3_tiny(cfg):
    for index, channels in enumerate((16, 32, 64, 128, 256, 512)):
        cfg.conv(channels, 3)
        cfg.maxpool(2, 2 if index < 5 else 1)
    cfg.convs((1024, 3), (256, 1), (512, 3))
    cfg.yolo("3,4,5", TINY_ANCHORS)
    cfg.route(-4)
    cfg.conv(128)
    cfg.upsample()
    cfg.route(-1, 8)
    cfg.conv(256, 3)
    cfg.yolo("0,1,2", TINY_ANCHORS)


def yolov4(cfg):
    cfg.conv(32, 3, activation="mish")
    ends = []
    for channels, blocks in ((64, 1), (128, 2), (256, 8), (512, 8), (1024, 4)):
        part = 64 if channels == 64 else channels // 2
        cfg.conv(channels, 3, 2, activation="mish")
        cfg.conv(part, activation="mish")
        cfg.route(-2)
        cfg.conv(part, activation="mish")
        for _ in range(blocks):
            cfg.convs((32 if channels == 64 else part, 1), (part, 3), activation="mish")
            cfg.shortcut()
        cfg.conv(part, activation="mish")
        cfg.route(-1, -3 * blocks - 4)
        cfg.conv(channels, activation="mish")
        ends.append(cfg.last)
    cfg.convs((512, 1), (1024, 3), (512, 1))
    spp(cfg)
    cfg.convs((512, 1), (1024, 3), (512, 1))
    for n, end in ((256, ends[3]), (128, ends[2])):
        cfg.conv(n)
        cfg.upsample()
        cfg.route(end)
        cfg.conv(n)
        cfg.route(-1, -3)
        five(cfg, n)
    options = {"iou_thresh": 0.213, "ignore_thresh": 0.7}
    cfg.conv(256, 3)
    cfg.yolo("0,1,2", V4_ANCHORS, scale_x_y=1.2, **options)
    for n, back, mask, scale in ((256, -16, "3,4,5", 1.1), (512, -37, "6,7,8", 1.05)):
        cfg.route(-4)
        cfg.conv(n, 3, 2)
        cfg.route(-1, back)
        five(cfg, n)
        cfg.conv(2 * n, 3)
        cfg.yolo(mask, V4_ANCHORS, scale_x_y=scale, **options)


def yolov4_tiny(cfg):
    cfg.conv(32, 3, 2)
    cfg.conv(64, 3, 2)
    for channels in (64, 128, 256):
        cfg.conv(channels, 3)
        cfg.second_half()
        cfg.convs((channels // 2, 3), (channels // 2, 3))
        cfg.route(-1, -2)
        cfg.conv(channels)
        cfg.route(-6, -1)
        cfg.maxpool(2, 2)
    cfg.convs((512, 3), (256, 1), (512, 3))
    cfg.yolo("3,4,5", TINY_ANCHORS, scale_x_y=1.05)
    cfg.route(-4)
    cfg.conv(128)
    cfg.upsample()
    cfg.route(-1, 23)
    cfg.conv(256, 3)
    cfg.yolo("1,2,3", TINY_ANCHORS, scale_x_y=1.05)


# Smallest scales of 3x3 convolutions: lower where residuals add up, so that boxes stay finite.
GAINS = {yolov3: 0.35, yolov3_spp: 0.35}


def write(folder, network, size, classes):
    """Writes a .cfg and random .weights for it, and returns their paths."""
    cfg = Cfg(*size, classes)
    network(cfg)
    paths = folder / f"{network.__name__}.cfg", folder / f"{network.__name__}.weights"
    paths[0].write_text(cfg.text)
    rng = np.random.default_rng(0)
    with paths[1].open("wb") as file:
        file.write(np.array([0, 2, 0], "<i4").tobytes() + np.array([32_013_312], "<i8").tobytes())
        for filters, inputs, kernel, normalized in cfg.convolutions:
            values = [rng.normal(0, 0.2, filters)]
            if normalized:  # scales, means and variances follow the biases
                low = GAINS.get(network, 0.6) if kernel == 3 else 0.5
                values += [rng.uniform(low, 3 * low, filters), rng.normal(0, 0.2, filters)]
                values += [rng.uniform(0.5, 1.5, filters)]
            fan_in = inputs * kernel**2
            kernels = rng.standard_normal(filters * fan_in, np.float32)
            values.append(kernels * np.float32(fan_in**-0.5))
            file.write(np.concatenate(values).astype("<f4").tobytes())
    return paths


READ = """
import sys
import cv2
import numpy as np

cfg, weights, pixels, out = sys.argv[1:]
net = cv2.dnn.readNetFromDarknet(cfg, weights)
net.setInput(np.ascontiguousarray(np.load(pixels).astype("float32").transpose(0, 3, 1, 2) / 255))
yolos = [name for name in net.getLayerNames() if name.startswith("yolo_")]
logits = [f"conv_{int(name.split('_')[1]) - 1}" for name in yolos]
outputs = net.forward(yolos + logits)
outputs = {"boxes": outputs[:len(yolos)], "logits": outputs[len(yolos):]}
np.savez(out, **{f"{kind}{i}": x for kind in outputs for i, x in enumerate(outputs[kind])})
"""


def run_in_opencv(cfg, weights, pixels, folder):
    """Logits (P, 5 + C) and boxes (P, 4) of OpenCV 4, smallest stride first."""
    np.save(folder / "pixels.npy", pixels)
    command = [sys.executable, "-c", READ, cfg, weights, folder / "pixels.npy", folder / "out.npz"]
    subprocess.run(command, env={"PYTHONPATH": str(OPENCV4)}, check=True, timeout=300)
    out = np.load(folder / "out.npz")
    boxes, logits = (
        sorted((out[key] for key in out.files if key.startswith(kind)), key=np.size, reverse=True)
        for kind in ("boxes", "logits")
    )
    channels = boxes[0].shape[-1]
    logits = [
        level[0].reshape(3, channels, -1).transpose(2, 0, 1).reshape(-1, channels)
        for level in logits
    ]
    height, width = pixels.shape[1:3]
    centre, size = np.split(np.concatenate(boxes)[:, :4] * ([width, height] * 2), 2, axis=1)
    return np.concatenate(logits), np.concatenate([centre - size / 2, centre + size / 2], axis=1)
