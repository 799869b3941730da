"""Writes small VOC folders for tests."""

import cv2
import numpy as np

XML = """<annotation>
  <size><width>{width}</width><height>{height}</height><depth/></size>
  {objects}
</annotation>
"""
OBJECT = """<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>
  <xmin>{box[0]}</xmin><ymin>{box[1]}</ymin><xmax>{box[2]}</xmax><ymax>{box[3]}</ymax>
</bndbox></object>"""


def annotation(objects, size):
    """Returns the XML of objects (name, box) or (name, box, difficult) in an image of (h, w)."""
    elements = [OBJECT.format(name=o[0], box=o[1], difficult=(*o, 0)[2]) for o in objects]
    return XML.format(width=size[1], height=size[0], objects="\n".join(elements))


def add_image(voc_dir, image_id, objects=(), size=(60, 80), suffix=".png", image=None):
    """Writes an image, by default noise, and its annotation; returns both paths."""
    for folder in ("JPEGImages", "Annotations"):
        (voc_dir / folder).mkdir(parents=True, exist_ok=True)
    if image is None:
        seed = sum(map(ord, image_id))
        image = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    image_path = voc_dir / "JPEGImages" / f"{image_id}{suffix}"
    image_path.write_bytes(cv2.imencode(suffix.lower(), image[..., ::-1])[1])
    xml_path = voc_dir / "Annotations" / f"{image_id}.xml"
    xml_path.write_text(annotation(objects, image.shape[:2]), encoding="utf-8")
    return image_path, xml_path


def add_list(voc_dir, name, lines):
    """Writes a list into ImageSets/Main."""
    folder = voc_dir / "ImageSets" / "Main"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def ids(refs):
    """Returns the ids of image references."""
    return [ref.image_id for ref in refs]
