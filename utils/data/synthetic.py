"""A small synthetic dataset in VOC layout, drawn from a seed; `make demo` trains on it."""

import colorsys
import functools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from utils.data.imagesets import write_set_list
from utils.errors import UserError
from utils.files import is_in_use, written_whole

# Mean hue of each class in degrees. The classes differ in colour, which a network learns first.
CLASSES = {"cross": 0, "disc": 60, "hexagon": 120, "ring": 180, "star": 240, "triangle": 300}
HUE_SPREAD = 15  # maximum deviation from the mean in degrees

# Range of the sides of an image in pixels: small, so that small objects remain visible in the small
# input of the demo.
SIDES = (150, 200)
# Probability and range of diameters in pixels for COCO's scales: area < 32^2, < 96^2, larger.
SCALES = ((0.2, (22, 32)), (0.55, (38, 90)), (0.25, (104, 140)))
MAX_OBJECTS = 3

# An object is `difficult` if a side of its box is shorter than TINY pixels, if less than the
# fraction HIDDEN of it is visible, or if it is faint.
TINY = 14
HIDDEN = 0.5
FAINT_PROBABILITY, FAINT_OPACITY = 0.05, 0.3

MIN_VISIBLE = 0.25  # an object is not drawn if it would leave less than this of another one

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
        name: One of CLASSES.
        box: xmin, ymin, xmax, ymax in VOC's convention: integers, counted from 1, inclusive.
        truncated: Whether the box touches the border of the image.
        difficult: Whether the object is tiny, faint or mostly hidden.
    """

    name: str
    box: tuple[int, int, int, int]
    truncated: bool
    difficult: bool


def write_voc(
    root: Path, *, train: int = 500, val: int = 100, test: int = 100, seed: int = 0
) -> None:
    """Writes a dataset `VOC2007` with three disjoint splits, completely or not at all.

    Image k depends only on the seed and k, so a larger dataset starts with the same images.

    Args:
        root: The VOCdevkit that will contain `VOC2007`; created if it does not exist.
        train: Number of images in the list `train`.
        val: Number of images in the list `val`; `trainval` has both.
        test: Number of images in the list `test`.
        seed: Seed of all images.

    Raises:
        UserError: One of the folders to write already contains files.
    """
    folders = [root / "VOC2007" / part for part in ("ImageSets/Main", "Annotations", "JPEGImages")]
    for folder in folders:
        if is_in_use(folder):
            raise UserError(f"{folder} already contains files, remove them or use another folder")
        folder.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(*folders) as parts:
        for part in parts:
            part.mkdir()
        lists, annotations, images = parts

        def write(index: int) -> str:
            image_id = f"{index + 1:06d}"
            image, objects = draw_scene(np.random.default_rng([seed, index]))
            jpeg = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])[1]
            (images / f"{image_id}.jpg").write_bytes(jpeg.tobytes())
            (annotations / f"{image_id}.xml").write_text(_to_xml(image_id, image, objects))
            return image_id

        cv2.setNumThreads(0)  # images are already drawn in parallel
        with ThreadPoolExecutor() as pool:
            ids = list(pool.map(write, range(train + val + test)))
        write_set_list(lists / "train.txt", ids[:train])
        write_set_list(lists / "val.txt", ids[train : train + val])
        write_set_list(lists / "trainval.txt", ids[: train + val])
        write_set_list(lists / "test.txt", ids[train + val :])


def draw_scene(rng: np.random.Generator) -> tuple[np.ndarray, list[DrawnObject]]:
    """Draws an image, RGB uint8 (H, W, 3), and returns it with its objects."""
    height, width = (int(side) for side in rng.integers(*SIDES, size=2, endpoint=True))
    canvas = _background(rng, height, width)
    _add_clutter(rng, canvas)

    owner = np.full((height, width), -1)  # index of the visible object at each pixel
    shapes, faint = [], []
    for _ in range(rng.integers(1, MAX_OBJECTS, endpoint=True)):
        name = str(rng.choice(list(CLASSES)))
        window, sprite = _place(rng, name, height, width)
        shape = np.zeros((height, width), bool)
        shape[window] = sprite[..., 0] > 0.5
        if any(
            np.sum((owner == i) & ~shape) < MIN_VISIBLE * np.sum(other)
            for i, (_, other) in enumerate(shapes)
        ):
            continue
        faint.append(rng.random() < FAINT_PROBABILITY)
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
    """Draws each class as float32 (side, side, 2): opacity and weight of the second colour, 0..1.

    A shape fits a unit circle. The sprite is slightly larger, so that edges stay smooth.
    """
    fine = 512
    v, u = np.mgrid[-1 : 1 : fine * 1j, -1 : 1 : fine * 1j] * 1.05
    radius, angle = np.hypot(u, v), np.arctan2(u, -v)

    def polygon(corners: int) -> np.ndarray:
        half = np.pi / corners
        return radius * np.cos(angle % (2 * half) - half) < np.cos(half)

    def star(corners: int, notch: float) -> np.ndarray:
        """A star with its spikes at radius 1 and the corners between them at radius `notch`."""
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
    """Rotates, stretches and positions a sprite; returns its window and its pixels there."""
    scale = rng.choice(len(SCALES), p=[probability for probability, _ in SCALES])
    diameter = rng.uniform(*SCALES[scale][1])
    margin = 0.4 * diameter  # the border may cut off a tenth
    centre = rng.uniform((margin, margin), (width - margin, height - margin))
    left, top = np.maximum(centre - 0.7 * diameter, 0).astype(int).tolist()
    right, bottom = np.minimum(centre + 0.7 * diameter, (width, height)).astype(int).tolist()

    # The sprite has about the final size, since warping does not average over source pixels.
    side = 2 ** int(np.ceil(np.log2(diameter)))
    angle = rng.uniform(0, 2 * np.pi)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = rotation * (diameter / side * rng.uniform(0.85, 1.15, size=2))
    shift = centre - (left, top) - matrix @ (side / 2, side / 2)
    sprite = cv2.warpAffine(
        _sprites(side)[name], np.column_stack([matrix, shift]), (right - left, bottom - top)
    )
    return (slice(top, bottom), slice(left, right)), sprite


def _paint(
    rng: np.random.Generator, canvas: np.ndarray, sprite: np.ndarray, hue: float, opacity: float
) -> None:
    """Paints a sprite in a colour near `hue`, with a much lighter or darker texture."""
    alpha, texture = sprite[..., :1], sprite[..., 1:]
    varied = (hue + rng.uniform(-HUE_SPREAD, HUE_SPREAD)) % 360 / 360
    rgb = colorsys.hsv_to_rgb(varied, rng.uniform(0.7, 1), rng.uniform(0.6, 1))
    first = np.array(rgb, np.float32) * 255
    second = first + rng.uniform(0.5, 0.8) * (rng.choice([0, 255]) - first)
    canvas += opacity * alpha * (first + texture * (second - first) - canvas)


def _noise(rng: np.random.Generator, cells: int, height: int, width: int) -> np.ndarray:
    """Smooth noise (H, W), about -1..1, with features of 1 / cells of the image's size."""
    grid = rng.uniform(-1, 1, size=(cells + 1, cells + 1)).astype(np.float32)
    return cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)


def _background(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Clouds of two muted colours in several octaves: float32 (H, W, 3), 0..255."""
    clouds = sum(_noise(rng, cells, height, width) / cells**0.5 for cells in (2, 4, 8, 16, 32))
    mix = np.clip(0.5 + clouds / 3, 0, 1)[..., None]
    grey, tint = rng.uniform(40, 215, size=(2, 1)), rng.uniform(-25, 25, size=(2, 3))
    first, second = (grey + tint).astype(np.float32)
    return first + mix * (second - first)


def _add_clutter(rng: np.random.Generator, canvas: np.ndarray) -> None:
    """Draws lines and rectangles that are not objects."""
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
    """Adds uneven light, a slight blur and sensor noise; returns uint8 (H, W, 3)."""
    height, width = canvas.shape[:2]
    light = rng.uniform(0.8, 1.2) + 0.25 * _noise(rng, 1, height, width)
    lit = cv2.GaussianBlur(canvas * light[..., None], (0, 0), rng.uniform(0.3, 1.0))
    grain = rng.random((height, width, 1), dtype=np.float32) - 0.5
    return np.clip(lit + rng.uniform(5, 25) * grain, 0, 255).astype(np.uint8)


def _to_xml(image_id: str, image: np.ndarray, objects: list[DrawnObject]) -> str:
    height, width = image.shape[:2]
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
