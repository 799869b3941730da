"""What the annotations of VOC images say."""

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree
import numpy as np
from defusedxml import DefusedXmlException
from tqdm import tqdm

from utils.data.images import TURNED, read_header
from utils.data.imagesets import ImageRef, annotation_files, image_files, read_text, resolve_splits
from utils.errors import UserError

BORDER_SLACK = 1.0  # pixels: VOC counts from 1, so a box of a whole image may end one beyond it
DECLARED_ENCODING = re.compile(rb"""<\?xml[^>]*encoding\s*=\s*["']([\w.-]+)["']""")
LONE_IMAGE, LONE_ANNOTATION = "image without annotation", "annotation without image"  # faults
VOC_CLASSES = Path(__file__).parents[2] / "model_data" / "voc_classes.txt"


@dataclass(frozen=True, eq=False)
class Sample:
    """An image and the objects its annotation names.

    Attributes:
        image_id: Name of the image without suffix.
        image: The image file.
        boxes: float32 (N, 4), xyxy, the annotation's own numbers; they may pass the border.
        labels: int32 (N,), positions in the list of classes.
        difficult: bool (N,), objects that VOC's evaluation passes over.
        width: Of the image as decoded, EXIF orientation applied.
        height: The same.
    """

    image_id: str
    image: Path
    boxes: np.ndarray
    labels: np.ndarray
    difficult: np.ndarray
    width: int
    height: int


@dataclass(frozen=True, order=True)
class Fault:
    """Something wrong with a file of a dataset."""

    kind: str
    path: Path
    detail: str = ""


def read_classes(path: Path) -> list[str]:
    """Class names, one a line."""
    names = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    if not names:
        raise UserError(f"no class in {path}: write one name a line")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"class {twice!r} stands twice in {path}: remove one")
    return names


def find_classes(refs: Iterable[ImageRef]) -> list[str]:
    """Class names in the annotations: in VOC's order where all are VOC's, else sorted."""
    names: set[str] = set()
    files = {path: annotation_files(path) for path in {ref.voc_dir for ref in refs}}
    for ref in refs:
        try:
            root = parse_xml(files[ref.voc_dir][ref.image_id])
        except (KeyError, UserError):
            continue  # `read_samples` names the file
        names.update(_class_name(node) for node in root.iterfind("object"))
    names.discard("")
    voc = read_classes(VOC_CLASSES)
    return [name for name in voc if name in names] if names <= set(voc) else sorted(names)


def read_samples(refs: Iterable[ImageRef], classes: list[str]) -> tuple[list[Sample], list[Fault]]:
    """Read annotations and image headers.

    An image that is missing, unreadable or without a readable annotation gives no sample; an object
    of a class not listed, or whose box is empty or wholly outside the image, is left out. Each is
    named by a fault, and so is a box that passes the border by more than a pixel, which is kept.
    Boxes that were drawn on the photo before its EXIF turn are turned with it.

    Returns:
        The samples, in the order of `refs`, and the faults.
    """
    samples, faults = [], []
    label_of = {name: label for label, name in enumerate(classes)}
    folders = {ref.voc_dir for ref in refs}
    images = {path: image_files(path) for path in folders}
    annotations = {path: annotation_files(path) for path in folders}
    for ref in tqdm(refs, "reading annotations", delay=2, leave=False, disable=None):
        image = images[ref.voc_dir].get(ref.image_id)
        annotation = annotations[ref.voc_dir].get(ref.image_id)
        sample, found = _read_sample(ref, image, annotation, label_of)
        faults += found
        if sample:
            samples.append(sample)
    return samples, faults


def read_training_samples(
    data: Path, train_set: str | None, classes_file: Path | None, seed: int
) -> tuple[list[Sample], list[str]]:
    """What training would use, and its classes; says on standard error what was passed over.

    Args:
        data: A VOCdevkit.
        train_set: Sets as on the command line, None for the default split.
        classes_file: Names, one a line; None for those of the annotations.
        seed: Of what is held out.
    """
    refs, _, told = resolve_splits(data, train_set, seed=seed)
    print(f"{data}: {told}", file=sys.stderr)
    classes = read_classes(classes_file) if classes_file else find_classes(refs)
    samples, faults = read_samples(refs, classes)
    if faults:
        print(f"{len(faults)} faults in the dataset were passed over", file=sys.stderr)
    return samples, classes


def _read_sample(
    ref: ImageRef, image: Path | None, annotation: Path | None, label_of: dict[str, int]
) -> tuple[Sample | None, list[Fault]]:
    if image is None and annotation is None:
        path = ref.voc_dir / "JPEGImages" / ref.image_id
        return None, [Fault("no such image", path, "listed, but there is no file of this name")]
    if image is None:
        return None, [Fault(LONE_ANNOTATION, annotation)]
    if annotation is None:
        return None, [Fault(LONE_IMAGE, image)]
    try:
        size, orientation = read_header(image)
    except (UserError, OSError) as error:
        return None, [Fault("unreadable image", image, str(error))]
    try:
        root = parse_xml(annotation)
    except (UserError, OSError) as error:
        return None, [Fault("unreadable annotation", annotation, str(error))]
    objects, faults = _read_objects(root, annotation, label_of, size, orientation)
    sample = Sample(
        image_id=ref.image_id,
        image=image,
        boxes=np.array([box for box, _, _ in objects], np.float32).reshape(-1, 4),
        labels=np.array([label for _, label, _ in objects], np.int32),
        difficult=np.array([difficult for _, _, difficult in objects], bool),
        width=size[1],
        height=size[0],
    )
    return sample, faults


def parse_xml(path: Path) -> Element:
    """Parse an annotation, in whatever encoding it declares.

    Raises:
        UserError: The file is damaged, cut short or not XML.
    """
    data = Path(path).read_bytes()
    declared = DECLARED_ENCODING.match(data)
    try:
        if declared and not declared[1].lower().startswith(b"utf"):
            # The parser itself knows no encoding of Chinese, Japanese or Korean but Unicode's.
            data = data.decode(declared[1].decode())
        return defusedxml.ElementTree.fromstring(data)
    except (ParseError, DefusedXmlException, LookupError, ValueError) as error:
        raise UserError(f"cannot read annotation {path}: {error}; repair or remove it") from error


def _class_name(node: Element) -> str:
    return (node.findtext("name") or "").strip()


def _read_objects(
    root: Element, path: Path, label_of: dict[str, int], size: tuple[int, int], orientation: int
) -> tuple[list[tuple[list[float], int, bool]], list[Fault]]:
    """Objects of one annotation as (box, label, difficult), and what is wrong with the others."""
    objects, faults = [], []
    height, width = size
    told = tuple(_number(root, f"size/{side}") for side in ("height", "width"))
    # Tools that do not look at EXIF show the photo lying, and boxes are drawn on that.
    turn = orientation in TURNED and told == (width, height) != size
    if turn:
        detail = f"drawn on {told[1]:g}x{told[0]:g}, turned with the image to {width}x{height}"
        faults.append(Fault("boxes turned by EXIF", path, detail))
    elif min(told) > 0 and told != size:
        detail = f"says {told[1]:g}x{told[0]:g}, the image is {width}x{height}"
        faults.append(Fault("size differs", path, detail))
    for node in root.iterfind("object"):
        name = _class_name(node)
        box = [_number(node, f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")]
        if turn:
            box = _turned(box, orientation, size)
        where = f"{name} {' '.join(f'{side:g}' for side in box)}"
        inside = np.clip(box, 0, (width, height, width, height))
        if name not in label_of:
            faults.append(Fault("unknown class", path, name or "an object without a name"))
        elif not np.isfinite(box).all():
            faults.append(Fault("no box", path, where))
        elif box[2] - box[0] < 1 or box[3] - box[1] < 1:
            faults.append(Fault("empty box", path, where))
        elif inside[2] - inside[0] < 1 or inside[3] - inside[1] < 1:
            faults.append(Fault("box outside", path, f"{where} in an image of {width}x{height}"))
        else:
            if np.abs(inside - box).max() > BORDER_SLACK:
                detail = f"{where} in an image of {width}x{height}"
                faults.append(Fault("box passes border", path, detail))
            objects.append((box, label_of[name], _number(node, "difficult") == 1))
    return objects, faults


def _turned(box: list[float], orientation: int, size: tuple[int, int]) -> list[float]:
    """A box of the stored picture in the turned one, of `size` (h, w); orientation 5 to 8."""
    (top, left, bottom, right), (height, width) = box, size  # x and y change places
    if orientation in (6, 7):
        left, right = width - right, width - left
    if orientation in (7, 8):
        top, bottom = height - bottom, height - top
    return [left, top, right, bottom]


def _number(node: Element, tag: str) -> float:
    """The number in a tag; NaN where there is none."""
    try:
        return float(node.findtext(tag, "nan"))
    except ValueError:
        return float("nan")
