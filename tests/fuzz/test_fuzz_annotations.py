"""Annotations of VOC."""

import math

import numpy as np
import pytest
from hypothesis import strategies as st

from tests.fuzzing import changed_xml, check_line, damaged, judge
from tests.vocset import add_image
from utils.data.annotation import read_samples
from utils.data.classes import find_classes, read_classes
from utils.data.imagesets import ImageRef

OBJECT = """<object><name>{}</name><pose>Left</pose><difficult>{}</difficult>
<bndbox><xmin>5</xmin><ymin>6.5</ymin><xmax>{}</xmax><ymax>50</ymax></bndbox></object>"""
TEXT = f"""<annotation><folder>JPEGImages</folder><filename>a.png</filename>
<size><width>80</width><height>60</height><depth>3</depth></size>
{OBJECT.format("cat", 0, 60)}{OBJECT.format("dog", 1, 90)}</annotation>"""
FILES = [
    TEXT.encode(),
    f'<?xml version="1.0" encoding="UTF-8"?>{TEXT}'.encode(),
    f'<?xml version="1.0" encoding="gb2312"?>{TEXT.replace("cat", "猫")}'.encode("gb2312"),
    f'<?xml version="1.0" encoding="utf-16"?>{TEXT}'.encode("utf-16"),
    f'<!DOCTYPE a [<!ENTITY b "c">]>{TEXT.replace("cat", "&b;")}'.encode(),
]
WORDS = [b"<object>", b"</object>", b"<name>", b"<![CDATA[", b"]]>", b"<!--", b"-->", b"&#10;"]
WORDS += [b'encoding="', b"&amp;", b"&#x0;", b"<?x ", b"nan", b"1e39", b"-", b"inf", b"\xff\xfe"]
SIDES = ("xmin", "ymin", "xmax", "ymax")
CLASSES = ["cat", "dog", "猫"]


@pytest.fixture
def annotation(tmp_path):
    """Returns the path of an annotation whose image exists."""
    return add_image(tmp_path, "a")[1]


def check_samples(annotation):
    """Reads the annotation, and checks what the training would get."""
    refs = [ImageRef(annotation.parents[1], "a")]
    samples, faults = judge(read_samples, refs, CLASSES)
    for fault in faults:
        check_line(str(fault))
    for sample in samples:
        boxes = sample.boxes
        assert boxes.dtype == np.float32 and boxes.shape == (len(sample.labels), 4)
        assert np.isfinite(boxes).all()
        assert np.isin(sample.labels, range(len(CLASSES))).all()
        assert sample.difficult.shape == sample.labels.shape
        inside = np.clip(boxes, 0, [sample.width, sample.height] * 2)
        assert (inside[:, 2:] - inside[:, :2] > 0.99).all()
    assert len(samples) + len(faults) > 0
    # The classes of a run are the lines of a file.
    names = judge(find_classes, refs)
    if names:
        file = annotation.parent / "classes.txt"
        file.write_text("\n".join(names) + "\n", encoding="utf-8")
        assert read_classes(file) == names
    return samples, faults


def test_damaged_annotations(fuzz, annotation):
    def check(data):
        annotation.write_bytes(data)
        check_samples(annotation)

    fuzz(check, data=damaged(FILES, WORDS))


def test_changed_annotations(fuzz, annotation):
    fuzz(
        lambda data: [annotation.write_bytes(data), check_samples(annotation)],
        data=changed_xml(TEXT),
    )


def test_boxes(fuzz, annotation):
    def check(numbers):
        texts = iter(map(str, numbers))
        sides = "".join(f"<{side}>{next(texts)}</{side}>" for side in SIDES)
        text = f"<annotation><object><name>cat</name><bndbox>{sides}</bndbox></object></annotation>"
        annotation.write_text(text)
        samples, faults = check_samples(annotation)
        if not all(map(math.isfinite, numbers)):
            assert faults and not len(samples[0].boxes)

    number = st.floats() | st.integers(-(10**6), 10**6) | st.floats(-1e39, 1e39)
    fuzz(check, numbers=st.lists(number, min_size=4, max_size=4))
