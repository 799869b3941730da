"""Lists the images of VOC folders and of image sets."""

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

from utils.data.formats.detect import conversion_hint
from utils.data.images import IMAGE_SUFFIXES
from utils.errors import UserError
from utils.files import written_whole
from utils.regular_files import check_regular

CLASS_COLUMN = ("-1", "0", "1")  # in lists of one class, such as cat_train.txt
# Folder, suffix or second column of a line.
NOT_JUST_AN_ID = re.compile(r"[/\\.]|\s(?:-1|0|1)$", re.MULTILINE)


class ImageRef(NamedTuple):  # unlike a dataclass, fast in the sets of large lists
    """An image of a VOC folder.

    Attributes:
        voc_dir: The folder, such as VOCdevkit/VOC2007.
        image_id: Name of the image and of its annotation without suffix.
    """

    voc_dir: Path
    image_id: str


def voc_dirs(data: Path) -> list[Path]:
    """Returns the VOC folders of a devkit, `VOC2007` before `VOC2012`, or `data` if it is one.

    Raises:
        UserError: There is none.
    """
    data = Path(data)
    if not data.is_dir():
        if hint := conversion_hint(data):
            raise UserError(f"{data} is not a folder: {hint}")
        raise UserError(f"no folder {data}: specify the VOCdevkit with --data")
    if (data / "Annotations").is_dir():
        # The year is in its name, which `.` and `..` do not have.
        return [data if data.name.strip(".") else data.resolve()]
    found = sorted(path.parent for path in data.glob("VOC*/Annotations") if path.is_dir())
    if not found:
        hint = conversion_hint(data) or (
            f"put images in {data / 'VOC2007' / 'JPEGImages'} "
            f"and their XML files in {data / 'VOC2007' / 'Annotations'}"
        )
        raise UserError(f"no VOC folder in {data}: {hint}")
    return found


def find_files(folder: Path, suffixes: Iterable[str]) -> dict[str, Path]:
    """Finds the files of a folder by suffix, regardless of its case.

    Args:
        folder: Any folder; it need not exist.
        suffixes: Suffixes with a dot. Of two files with the same name, the one whose suffix comes
            first here is used.

    Returns:
        Paths by name without suffix, sorted; names are in the composed form of Unicode (NFC).
    """
    return {stem: folder / name for stem, name in choose_files(folder, suffixes)[0].items()}


def choose_files(
    folder: Path, suffixes: Iterable[str]
) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Returns the names of the files that `find_files` finds, and of others with the same stem."""
    ranks = {suffix.removeprefix("."): rank for rank, suffix in enumerate(suffixes)}
    used: dict[str, str] = {}
    others = defaultdict(list)
    for name in sorted(os.listdir(folder)) if folder.is_dir() else ():  # noqa: PTH208  faster
        stem, _, suffix = name.rpartition(".")
        if (suffix not in ranks and suffix.lower() not in ranks) or stem[:1] in (".", ""):
            continue
        key = stem if stem.isascii() else unicodedata.normalize("NFC", stem)
        if used.setdefault(key, name) is not name:
            others[key].append(name)

    def preference(name: str) -> tuple[int, str]:
        return ranks[name.rpartition(".")[2].lower()], name

    for stem, names in others.items():
        used[stem], *others[stem] = sorted([used[stem], *names], key=preference)
    order = sorted(used)  # that of names differs if some of them contain dots
    if order != list(used):
        used = {stem: used[stem] for stem in order}
    return used, {stem: others[stem] for stem in sorted(others)}


def image_files(voc_dir: Path) -> dict[str, Path]:
    """Returns the image files of a VOC folder by id."""
    return find_files(voc_dir / "JPEGImages", IMAGE_SUFFIXES)


def annotation_files(voc_dir: Path) -> dict[str, Path]:
    """Returns the annotation files of a VOC folder by id."""
    return find_files(voc_dir / "Annotations", (".xml",))


def set_lists(voc_dir: Path) -> dict[str, Path]:
    """Returns the lists in ImageSets/Main by name."""
    return find_files(voc_dir / "ImageSets" / "Main", (".txt",))


def write_set_list(path: Path, image_ids: Iterable[str]) -> None:
    """Writes the list of an image set; its folder is created if it does not exist.

    Raises:
        UserError: A name is not UTF-8.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as (part,):
        try:
            part.write_text("".join(f"{image_id}\n" for image_id in image_ids), encoding="utf-8")
        except UnicodeEncodeError as error:
            name = error.object.splitlines()[error.object[: error.start].count("\n")]
            raise UserError(
                f"cannot write {path}: the name {name!r} is not UTF-8, rename the image"
            ) from error


def list_images(data: Path, spec: str) -> list[ImageRef]:
    """Lists the images of one or more image sets.

    Args:
        data: A VOCdevkit.
        spec: Names of sets, separated by commas. A name can have a year (`2007:trainval`);
            otherwise it selects the set in all years that have it. `all` selects every annotated
            image, whether or not a list contains it, unless a list has this name.

    Raises:
        UserError: There is no such set or year, or it has no image.
    """
    folders = voc_dirs(data)
    refs: dict[ImageRef, None] = {}  # an ordered set
    for item in spec.split(","):
        year, _, name = item.strip().rpartition(":")
        years = [path for path in folders if year in ("", path.name, path.name.removeprefix("VOC"))]
        if not years:
            known = ", ".join(path.name for path in folders)
            raise UserError(f"no year {year!r} in {data} for set {item!r}: it has {known}")
        lists = {path: set_lists(path) for path in years}
        chosen = [path for path, names in lists.items() if name in names or name == "all"]
        if not chosen:
            known = ", ".join(sorted(set().union(*lists.values()))) or "no lists"
            raise UserError(
                f"no image set {name!r} in {years[0]}: it has {known}; `all` selects every "
                "annotated image"
            )
        found = [ref for path in chosen for ref in read_set(path, lists[path].get(name))]
        if not found:
            reason = "there is no annotation"
            if name in lists[chosen[0]]:
                reason = f"{lists[chosen[0]][name]} is empty, write one image name per line"
            raise UserError(f"no image in set {item.strip()!r} of {data}: {reason}")
        refs.update(dict.fromkeys(found))
    return list(refs)


def images_in_test(folders: list[Path]) -> set[ImageRef]:
    """Returns the images in the `test` lists of VOC folders."""
    lists = {path: set_lists(path).get("test") for path in folders}
    return {ref for path, test in lists.items() if test for ref in read_set(path, test)}


def read_set(voc_dir: Path, set_list: Path | None) -> list[ImageRef]:
    """Returns the images in a list, or without a list all annotated images.

    A line contains the name of an image. It can have a folder and a suffix, as in Darknet's lists
    (`data/VOC2007/JPEGImages/000001.jpg`), and a second column, as in lists of one class.

    Raises:
        UserError: The list is not UTF-8, or contains images of different folders that have the
            same name.
    """
    if set_list is None:
        return [ImageRef(voc_dir, image_id) for image_id in annotation_files(voc_dir)]
    text = unicodedata.normalize("NFC", read_text(set_list))
    lines = dict.fromkeys(line.strip() for line in text.splitlines())
    lines.pop("", None)
    if not NOT_JUST_AN_ID.search("\n".join(lines)):  # faster than a search per line
        return [ImageRef(voc_dir, image_id) for image_id in lines]
    known = None
    folder_of: dict[str, str] = {}
    for line in lines:
        image_id, folder = line, ""
        if NOT_JUST_AN_ID.search(line):
            if known is None:
                known = annotation_files(voc_dir).keys() | image_files(voc_dir).keys()
            image_id, folder = _parse_line(line, known)
        if folder_of.setdefault(image_id, folder) != folder and folder and folder_of[image_id]:
            raise UserError(
                f"{set_list} lists {image_id} in {folder_of[image_id]} and in {folder}: the images "
                f"of a VOC folder are all in {voc_dir / 'JPEGImages'}, give them different names"
            )
    return [ImageRef(voc_dir, image_id) for image_id in folder_of]


def _parse_line(line: str, known: Collection[str]) -> tuple[str, str]:
    """Parses a line of a list that is not only a name.

    Args:
        line: The line.
        known: Names of images and annotations, which may contain spaces and any other character.

    Returns:
        Name of the image, and its folder or an empty string.
    """
    name, *column = line.rsplit(maxsplit=1)
    without_column = name if column and column[0] in CLASS_COLUMN else line
    candidates = []
    for text in dict.fromkeys((line, without_column)):
        folder, _, name = text.replace("\\", "/").rpartition("/")
        stem, dot, suffix = name.rpartition(".")
        is_file = dot + suffix.lower() in (*IMAGE_SUFFIXES, ".xml")
        candidates += [(text, ""), *([(name, folder)] if name else [])]
        candidates += [(stem, folder)] if is_file and stem else []
    return next((each for each in candidates if each[0] in known), candidates[-1])


def read_text(path: Path) -> str:
    """Reads a text file in UTF-8, with or without a byte order mark.

    Raises:
        UserError: The file is in another encoding, or not a regular file.
    """
    check_regular(path)
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text: save it as UTF-8") from error
