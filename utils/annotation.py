"""VOC folders: which images a set holds, and what their annotations say."""

import os
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree
import numpy as np
from defusedxml import DefusedXmlException
from tqdm import tqdm

from utils.errors import UserError
from utils.images import IMAGE_SUFFIXES, image_size

HELD_OUT = 0.1  # share of the training images kept for validation where no list names any
BORDER_SLACK = 1.0  # pixels: VOC counts from 1, so a box of a whole image may end one beyond it
CLASS_COLUMN = re.compile(r"(.+?)\s+(?:-1|0|1)$")  # of lists of one class, such as cat_train.txt
DECLARED_ENCODING = re.compile(rb"""<\?xml[^>]*encoding\s*=\s*["']([\w.-]+)["']""")
LONE_IMAGE, LONE_ANNOTATION = "image without annotation", "annotation without image"  # faults
VOC_CLASSES = Path(__file__).parents[1] / "model_data" / "voc_classes.txt"


@dataclass(frozen=True, order=True)
class ImageRef:
    """An image of a VOC folder, by its id: the name of its files without suffix."""

    voc_dir: Path
    image_id: str


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
    names = [line.strip() for line in _read_text(path).splitlines() if line.strip()]
    if not names:
        raise UserError(f"no class in {path}: write one name a line")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"class {twice!r} stands twice in {path}: remove one")
    return names


def voc_dirs(data: Path) -> list[Path]:
    """The VOC folders of a devkit, `VOC2007` before `VOC2012`; or `data`, where it is one itself.

    Raises:
        UserError: There is none.
    """
    data = Path(data)
    if not data.is_dir():
        raise UserError(f"no folder {data}: name the VOCdevkit with --data")
    if (data / "Annotations").is_dir():
        return [data]
    found = sorted(path.parent for path in data.glob("VOC*/Annotations") if path.is_dir())
    if not found:
        raise UserError(
            f"no VOC folder in {data}: put images in {data / 'VOC2007' / 'JPEGImages'} "
            f"and their XML files in {data / 'VOC2007' / 'Annotations'}"
        )
    return found


def find_files(folder: Path, suffixes: Iterable[str]) -> dict[str, Path]:
    """Files of a folder by name without suffix, in Unicode's composed form, suffix in any case.

    Where two files share a name the suffix that stands first in `suffixes` wins.
    """
    ranks = {suffix: rank for rank, suffix in enumerate(suffixes)}
    found: dict[str, tuple[int, str]] = {}
    if folder.is_dir():
        with os.scandir(folder) as entries:
            for entry in entries:
                stem, dot, suffix = entry.name.rpartition(".")
                rank = ranks.get(dot + suffix.lower())
                if rank is not None and not stem.startswith("."):
                    key = unicodedata.normalize("NFC", stem)
                    found[key] = min((rank, entry.path), found.get(key, (rank, entry.path)))
    return {stem: Path(path) for stem, (_, path) in sorted(found.items())}


def image_files(voc_dir: Path) -> dict[str, Path]:
    """Image files of a VOC folder by id."""
    return find_files(voc_dir / "JPEGImages", IMAGE_SUFFIXES)


def annotation_files(voc_dir: Path) -> dict[str, Path]:
    """Annotation files of a VOC folder by id."""
    return find_files(voc_dir / "Annotations", (".xml",))


def set_lists(voc_dir: Path) -> dict[str, Path]:
    """The lists in ImageSets/Main by name."""
    return find_files(voc_dir / "ImageSets" / "Main", (".txt",))


def list_images(data: Path, spec: str) -> list[ImageRef]:
    """The images of one or more sets.

    Args:
        data: A VOCdevkit.
        spec: Names of lists, separated by commas, each with its year or, without, of all years that
            have it: `trainval`, or `2007:trainval,2012:trainval`. `all` means every annotated
            image of folders without lists.

    Raises:
        UserError: No such list or year, or no image in it.
    """
    folders = voc_dirs(data)
    refs: dict[ImageRef, None] = {}  # an ordered set
    for item in spec.split(","):
        year, _, name = item.strip().rpartition(":")
        years = [path for path in folders if year in ("", path.name, path.name.removeprefix("VOC"))]
        if not years:
            have = ", ".join(path.name for path in folders)
            raise UserError(f"no year {year!r} in {data} for set {item!r}: it has {have}")
        lists = {path: set_lists(path) for path in years}
        having = [
            path for path, names in lists.items() if name in names or (name == "all" and not names)
        ]
        if not having:
            have = ", ".join(sorted(set().union(*lists.values()))) or "no lists; name it all"
            raise UserError(f"no image set {name!r} in {years[0]}: it has {have}")
        for path in having:
            refs.update(dict.fromkeys(_read_set(path, lists[path].get(name))))
    if not refs:
        raise UserError(f"no image in set {spec!r} of {data}: its list is empty")
    return list(refs)


def resolve_splits(
    data: Path, train_spec: str | None = None, val_spec: str | None = None, seed: int = 0
) -> tuple[list[ImageRef], list[ImageRef], str]:
    """Images to train on and images to validate on.

    Each VOC folder gives its `train` and `val` where it has both, else a seeded 10% of its
    `trainval` (or `train`, or, without any lists, of all its annotated images) is held out. Named
    sets go first: with `train_spec` alone validation is `val` where that shares no image with it,
    else held out; with `val_spec` alone training is all the rest. What stands in `test` is used
    only where it is named.

    Args:
        data: A VOCdevkit.
        train_spec: Sets as `list_images` takes them.
        val_spec: The same.
        seed: Of the choice of what is held out.

    Returns:
        The images to train on, those to validate on, and a line that says where they came from.
    """
    if train_spec and val_spec:
        train, val = list_images(data, train_spec), list_images(data, val_spec)
        return train, val, f"train on {train_spec}, validate on {val_spec}"
    if train_spec:
        return _validate_beside(list_images(data, train_spec), train_spec, seed)
    if val_spec:
        val = list_images(data, val_spec)
        folders = voc_dirs(data)
        taken = {*val, *_tested(folders)}
        train = [ref for ref in _pool(folders) if ref not in taken]
        if not train:
            raise UserError(f"no image left in {data} to train on beside {val_spec!r}")
        return train, val, f"train on all but {val_spec}, validate on {val_spec}"
    return _default_splits(data, seed)


def _default_splits(data: Path, seed: int) -> tuple[list[ImageRef], list[ImageRef], str]:
    folders = voc_dirs(data)
    lists = {path: set_lists(path) for path in folders}
    split = [path for path in folders if {"train", "val"} <= lists[path].keys()]
    train = [ref for path in split for ref in _read_set(path, lists[path]["train"])]
    val = [ref for path in split for ref in _read_set(path, lists[path]["val"])]
    told = ["train and val of " + ", ".join(path.name for path in split)] if split else []
    pool = _pool([path for path in folders if path not in split])
    tested = _tested(folders)
    if not tested.isdisjoint(train + val + pool):
        total = len(train + val + pool)
        train, val, pool = ([r for r in refs if r not in tested] for refs in (train, val, pool))
        told.append(f"{total - len(train + val + pool)} images left out that stand in test too")
    if pool:
        kept, held_out = _hold_out(pool, seed)
        train, val = train + kept, val + held_out
        told.append(
            f"{len(held_out)} of {len(pool)} images held out for validation from "
            + ", ".join(dict.fromkeys(ref.voc_dir.name for ref in pool))
        )
    if not train or not val:
        have = ", ".join(sorted(set().union(*lists.values())))
        raise UserError(
            f"nothing to train on in {data}: it has {f'the sets {have}' if have else 'no XML file'}"
            "; name the sets with --train-set and --val-set"
        )
    if not tested:
        told.append("no test list: nothing is kept untouched for a last evaluation")
    return train, val, "; ".join(told)


def _validate_beside(
    train: list[ImageRef], spec: str, seed: int
) -> tuple[list[ImageRef], list[ImageRef], str]:
    folders = dict.fromkeys(ref.voc_dir for ref in train)
    lists = {path: set_lists(path).get("val") for path in folders}
    val = [ref for path, val_list in lists.items() if val_list for ref in _read_set(path, val_list)]
    if val and set(val).isdisjoint(train):
        return train, val, f"train on {spec}, validate on val"
    kept, held_out = _hold_out(train, seed)
    told = f"train on {spec}, {len(held_out)} of its {len(train)} images held out for validation"
    return kept, held_out, told


def _pool(folders: list[Path]) -> list[ImageRef]:
    """What there is to train on in folders without a train and val of their own."""
    refs = []
    for path in folders:
        lists = set_lists(path)
        name = next((name for name in ("trainval", "train") if name in lists), None)
        if name or not lists:
            refs += _read_set(path, lists.get(name))
    return refs


def _tested(folders: list[Path]) -> set[ImageRef]:
    """What the test lists keep untouched."""
    lists = {path: set_lists(path).get("test") for path in folders}
    return {ref for path, test in lists.items() if test for ref in _read_set(path, test)}


def _hold_out(refs: list[ImageRef], seed: int) -> tuple[list[ImageRef], list[ImageRef]]:
    if len(refs) < 2:
        raise UserError("one image cannot both train and validate: add images, or use --val-set")
    count = max(1, round(HELD_OUT * len(refs)))
    chosen = set(np.random.default_rng(seed).permutation(len(refs))[:count].tolist())
    kept = [ref for i, ref in enumerate(refs) if i not in chosen]
    return kept, [refs[i] for i in sorted(chosen)]


def _read_set(voc_dir: Path, set_list: Path | None) -> list[ImageRef]:
    """The images a list names; without a list, all that have an annotation."""
    if set_list is None:
        return [ImageRef(voc_dir, image_id) for image_id in annotation_files(voc_dir)]
    text = unicodedata.normalize("NFC", _read_text(set_list))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if any(CLASS_COLUMN.fullmatch(line) for line in lines):
        known = annotation_files(voc_dir).keys() | image_files(voc_dir).keys()
        lines = [line if line in known else CLASS_COLUMN.sub(r"\1", line) for line in lines]
    return [ImageRef(voc_dir, line) for line in dict.fromkeys(lines)]


def _read_text(path: Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text: save it as UTF-8") from error


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
        height, width = image_size(image)
    except (UserError, OSError) as error:
        return None, [Fault("unreadable image", image, str(error))]
    try:
        root = parse_xml(annotation)
    except (UserError, OSError) as error:
        return None, [Fault("unreadable annotation", annotation, str(error))]
    objects, faults = _read_objects(root, annotation, label_of, (height, width))
    sample = Sample(
        image_id=ref.image_id,
        image=image,
        boxes=np.array([box for box, _, _ in objects], np.float32).reshape(-1, 4),
        labels=np.array([label for _, label, _ in objects], np.int32),
        difficult=np.array([difficult for _, _, difficult in objects], bool),
        width=width,
        height=height,
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
    root: Element, path: Path, label_of: dict[str, int], size: tuple[int, int]
) -> tuple[list[tuple[list[float], int, bool]], list[Fault]]:
    """Objects of one annotation as (box, label, difficult), and what is wrong with the others."""
    objects, faults = [], []
    height, width = size
    told = [_number(root, f"size/{side}") for side in ("height", "width")]
    if min(told) > 0 and told != [height, width]:
        detail = f"says {told[1]:g}x{told[0]:g}, the image is {width}x{height}"
        faults.append(Fault("size differs", path, detail))
    for node in root.iterfind("object"):
        name = _class_name(node)
        box = [_number(node, f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")]
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


def _number(node: Element, tag: str) -> float:
    """The number in a tag; NaN where there is none."""
    try:
        return float(node.findtext(tag, "nan"))
    except ValueError:
        return float("nan")
