"""A small detection set in VOC layout, drawn from a seed: what `make demo` learns."""

import colorsys
import functools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from utils.errors import UserError

# Each with the middle of its family of hues, in degrees: colour is what a network learns first.
CLASSES = {"cross": 0, "disc": 60, "hexagon": 120, "ring": 180, "star": 240, "triangle": 300}
HUE_SPREAD = 15  # degrees to either side

# Small images, so that small objects are still seen in the small input that the demo affords.
SIDES = (150, 200)  # of an image, pixels
# Diameters in pixels by COCO's three scales (areas below 32^2, below 96^2, above): odds, range.
SCALES = ((0.2, (22, 32)), (0.55, (38, 90)), (0.25, (104, 140)))
MAX_OBJECTS = 3

# What makes an object `difficult`.
TINY = 14  # a side of its box below this, pixels
HIDDEN = 0.5  # less than this share of it seen
FAINT_ODDS, FAINT_OPACITY = 0.05, 0.3  # some are drawn nearly transparent

LEAST_SEEN = 0.25  # an object that would hide another further than this is left out

XML = """<annotation>
  <folder>VOC2007</folder>
  <filename>{image_id}.jpg</filename>
  <size><width>{width}</width><height>{height}</height><depth>3</depth></size>
  <segmented>0</segmented>
{objects}</annotation>
"""
XML_OBJECT = """  <object>
    <name>{name}</name>
    <pose>Unspecified</pose>
    <truncated>{truncated:d}</truncated>
    <difficult>{difficult:d}</difficult>
    <bndbox>
      <xmin>{xmin}</xmin><ymin>{ymin}</ymin><xmax>{xmax}</xmax><ymax>{ymax}</ymax>
    </bndbox>
  </object>
"""


@dataclass(frozen=True)
class DrawnObject:
    """An object of a drawn image.

    Attributes:
        name: one of CLASSES.
        box: xmin, ymin, xmax, ymax as VOC counts, in whole pixels from 1, all inside the box.
        truncated: whether the border of the image cuts it.
        difficult: whether it is tiny, faint or mostly hidden.
    """

    name: str
    box: tuple[int, int, int, int]
    truncated: bool
    difficult: bool


def write_voc(
    root: Path, *, train: int = 500, val: int = 100, test: int = 100, seed: int = 0
) -> None:
    """Writes a set `VOC2007` into the VOCdevkit `root`, with three disjoint splits.

    Image k depends on the seed and k alone, so a larger set begins with the smaller one.

    Args:
        root: folder that gets `VOC2007`.
        train: images of the list of that name, and so are the next two.
        val: see `train`; `trainval` lists both.
        test: see `train`.
        seed: another one gives another set.

    Raises:
        UserError: `root/VOC2007` has images already.
    """
    folder = root / "VOC2007"
    images, annotations, lists = (
        folder / part for part in ("JPEGImages", "Annotations", "ImageSets/Main")
    )
    if images.is_dir() and any(images.iterdir()):
        raise UserError(f"{images} has images already, remove them or choose another folder")
    for part in (images, annotations, lists):
        part.mkdir(parents=True, exist_ok=True)

    def write(index: int) -> str:
        image_id = f"{index + 1:06d}"
        picture, objects = draw(np.random.default_rng([seed, index]))
        jpeg = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])[1]
        (images / f"{image_id}.jpg").write_bytes(jpeg.tobytes())
        (annotations / f"{image_id}.xml").write_text(_to_xml(image_id, picture, objects))
        return f"{image_id}\n"

    cv2.setNumThreads(0)  # the threads are ours
    with ThreadPoolExecutor() as pool:
        ids = list(pool.map(write, range(train + val + test)))
    (lists / "train.txt").write_text("".join(ids[:train]))
    (lists / "val.txt").write_text("".join(ids[train : train + val]))
    (lists / "trainval.txt").write_text("".join(ids[: train + val]))
    (lists / "test.txt").write_text("".join(ids[train + val :]))


def draw(rng: np.random.Generator) -> tuple[np.ndarray, list[DrawnObject]]:
    """Draws an image, RGB uint8 (H, W, 3), and says what is in it."""
    height, width = (int(side) for side in rng.integers(*SIDES, size=2, endpoint=True))
    canvas = _background(rng, height, width)
    _add_clutter(rng, canvas)

    owner = np.full((height, width), -1)  # the object seen at each pixel
    shapes, faint = [], []
    for _ in range(rng.integers(1, MAX_OBJECTS, endpoint=True)):
        name = str(rng.choice(list(CLASSES)))
        window, sprite = _place(rng, name, height, width)
        shape = np.zeros((height, width), bool)
        shape[window] = sprite[..., 0] > 0.5
        if any(
            np.sum((owner == i) & ~shape) < LEAST_SEEN * np.sum(other)
            for i, (_, other) in enumerate(shapes)
        ):
            continue
        faint.append(rng.random() < FAINT_ODDS)
        opacity = FAINT_OPACITY if faint[-1] else 1.0
        _paint(rng, canvas[window], sprite, CLASSES[name], opacity)
        owner[shape] = len(shapes)
        shapes.append((name, shape))

    objects = []
    for i, (name, shape) in enumerate(shapes):
        xs, ys = np.flatnonzero(shape.any(axis=0)), np.flatnonzero(shape.any(axis=1))
        box = tuple(int(n) + 1 for n in (xs[0], ys[0], xs[-1], ys[-1]))
        tiny = min(xs.size, ys.size) < TINY
        hidden = np.mean(owner[shape] == i) < HIDDEN
        truncated = box[0] == 1 or box[1] == 1 or box[2] == width or box[3] == height
        objects.append(DrawnObject(name, box, truncated, bool(tiny or hidden or faint[i])))
    return _photograph(rng, canvas), objects


@functools.cache
def _sprites(side: int) -> dict[str, np.ndarray]:
    """Each class as float32 (side, side, 2): opacity and where its second colour goes, 0..1.

    A shape fits a unit circle; the sprite spans a little more, so that its edges stay smooth.
    """
    fine = 512
    v, u = np.mgrid[-1 : 1 : fine * 1j, -1 : 1 : fine * 1j] * 1.05
    radius, angle = np.hypot(u, v), np.arctan2(u, -v)

    def polygon(corners: int) -> np.ndarray:
        half = np.pi / corners
        return radius * np.cos(angle % (2 * half) - half) < np.cos(half)

    def star(corners: int, notch: float) -> np.ndarray:
        """Inside the straight edges from each spike, at radius 1, to the notches beside it."""
        half = np.pi / corners
        off = np.abs((angle + half) % (2 * half) - half)  # angle to the nearest spike, 0..half
        x, y = radius * np.cos(off), radius * np.sin(off)
        return (1 - x) * notch * np.sin(half) > y * (1 - notch * np.cos(half))

    near, far = np.minimum(np.abs(u), np.abs(v)), np.maximum(np.abs(u), np.abs(v))
    layers = {
        "cross": ((near < 0.3) & (far < 0.95), far < 0.3),
        "disc": (radius < 1, u * 2.5 % 1 < 0.5),
        "hexagon": (polygon(6), np.hypot(u * 2.5 % 1 - 0.5, v * 2.5 % 1 - 0.5) < 0.3),
        "ring": ((radius > 0.6) & (radius < 1), np.zeros_like(u)),
        "star": (star(5, 0.45), np.sin(5 * angle) > 0),
        "triangle": (polygon(3), (np.floor(u * 3) + np.floor(v * 3)) % 2 == 0),
    }
    return {
        name: cv2.resize(
            np.dstack(pair).astype(np.float32), (side, side), None, 0, 0, cv2.INTER_AREA
        )
        for name, pair in layers.items()
    }


def _place(
    rng: np.random.Generator, name: str, height: int, width: int
) -> tuple[tuple[slice, slice], np.ndarray]:
    """Turns and stretches a sprite and finds it a place: the window, and what it shows there."""
    scale = rng.choice(len(SCALES), p=[odds for odds, _ in SCALES])
    diameter = rng.uniform(*SCALES[scale][1])
    margin = 0.4 * diameter  # the border may cut a tenth off
    centre = rng.uniform((margin, margin), (width - margin, height - margin))
    left, top = np.maximum(centre - 0.7 * diameter, 0).astype(int).tolist()
    right, bottom = np.minimum(centre + 0.7 * diameter, (width, height)).astype(int).tolist()

    # From a sprite of about its size, since warping does not average over source pixels.
    side = 2 ** int(np.ceil(np.log2(diameter)))
    turn = rng.uniform(0, 2 * np.pi)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    matrix = rotation * (diameter / side * rng.uniform(0.85, 1.15, size=2))
    shift = centre - (left, top) - matrix @ (side / 2, side / 2)
    sprite = cv2.warpAffine(
        _sprites(side)[name], np.column_stack([matrix, shift]), (right - left, bottom - top)
    )
    return (slice(top, bottom), slice(left, right)), sprite


def _paint(
    rng: np.random.Generator, canvas: np.ndarray, sprite: np.ndarray, hue: float, opacity: float
) -> None:
    """Paints a sprite in a colour of its family, and its texture much lighter or darker."""
    alpha, texture = sprite[..., :1], sprite[..., 1:]
    turned = (hue + rng.uniform(-HUE_SPREAD, HUE_SPREAD)) % 360 / 360
    rgb = colorsys.hsv_to_rgb(turned, rng.uniform(0.7, 1), rng.uniform(0.6, 1))
    first = np.array(rgb, np.float32) * 255
    second = first + rng.uniform(0.5, 0.8) * (rng.choice([0, 255]) - first)
    canvas += opacity * alpha * (first + texture * (second - first) - canvas)


def _noise(rng: np.random.Generator, cells: int, height: int, width: int) -> np.ndarray:
    """Smooth noise (H, W), about -1..1, with features of 1 / cells of the image."""
    grid = rng.uniform(-1, 1, size=(cells + 1, cells + 1)).astype(np.float32)
    return cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)


def _background(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Clouds of two muted colours in several octaves, float32 (H, W, 3), 0..255."""
    clouds = sum(_noise(rng, cells, height, width) / cells**0.5 for cells in (2, 4, 8, 16, 32))
    mix = np.clip(0.5 + clouds / 3, 0, 1)[..., None]
    grey, tint = rng.uniform(40, 215, size=(2, 1)), rng.uniform(-25, 25, size=(2, 3))
    first, second = (grey + tint).astype(np.float32)
    return first + mix * (second - first)


def _add_clutter(rng: np.random.Generator, canvas: np.ndarray) -> None:
    """Draws lines and frames that are no object."""
    height, width = canvas.shape[:2]
    for _ in range(rng.integers(2, 7)):
        colour = (rng.uniform(40, 215) + rng.uniform(-25, 25, size=3)).tolist()
        start, end = rng.integers(0, (width, height), size=(2, 2)).tolist()
        thickness = int(rng.integers(1, 4))
        if rng.random() < 0.7:
            cv2.line(canvas, start, end, colour, thickness, cv2.LINE_AA)
        else:
            cv2.rectangle(canvas, start, end, colour, thickness)


def _photograph(rng: np.random.Generator, canvas: np.ndarray) -> np.ndarray:
    """Lights the scene from one side, blurs it a little and adds the grain of a sensor."""
    height, width = canvas.shape[:2]
    light = rng.uniform(0.8, 1.2) + 0.25 * _noise(rng, 1, height, width)
    lit = cv2.GaussianBlur(canvas * light[..., None], (0, 0), rng.uniform(0.3, 1.0))
    grain = rng.random((height, width, 1), dtype=np.float32) - 0.5
    return np.clip(lit + rng.uniform(5, 25) * grain, 0, 255).astype(np.uint8)


def _to_xml(image_id: str, picture: np.ndarray, objects: list[DrawnObject]) -> str:
    height, width = picture.shape[:2]
    entries = []
    for drawn in objects:
        xmin, ymin, xmax, ymax = drawn.box
        entries.append(
            XML_OBJECT.format(
                name=drawn.name,
                truncated=drawn.truncated,
                difficult=drawn.difficult,
                xmin=xmin,
                ymin=ymin,
                xmax=xmax,
                ymax=ymax,
            )
        )
    return XML.format(image_id=image_id, width=width, height=height, objects="".join(entries))
