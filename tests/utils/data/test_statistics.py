from nets.versions import VERSIONS
from tests.evaluation_sets import make_sample
from utils.data.samples import Samples
from utils.data.statistics import format_statistics

CLASSES = [f"class {label:04d} {'long' * 30 if label == 7 else ''}" for label in range(1000)]


def statistics(classes):
    """Class i has i objects in train, and one difficult one in val."""
    box = (10, 10, 60, 70)
    train = [make_sample(*[(label, *box, 0)] * label) for label in range(len(classes))]
    val = [make_sample(*[(label, *box, 1) for label in range(len(classes))])]
    samples = {"train": Samples.of(train), "val": Samples.of(val)}
    return format_statistics(samples, classes, VERSIONS["v4"].anchor_array, (416, 416))


def class_rows(table):
    lines = table.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("objects")) + 1
    last = next(i for i, line in enumerate(lines) if line.startswith("boxes at"))
    return [line.split() for line in lines[first:last]]


def test_of_many_classes_those_with_the_most_and_the_fewest_objects_are_shown():
    tables = statistics(CLASSES)
    rows = class_rows(tables.short)
    assert len(rows) == 41
    assert rows[0] == ["class", "0999", "999", "1", "(1)"]
    assert rows[19] == ["class", "0980", "980", "1", "(1)"]
    # 20 to 979 have 980 * 979 / 2 - 20 * 19 / 2 objects.
    assert rows[20] == ["and", "960", "more", "479520", "960", "(960)"]
    assert rows[-1] == ["class", "0000", "0", "1", "(1)"]
    assert [row[1] for row in rows[21:]] == [f"{label:04d}" for label in range(19, -1, -1)]
    assert max(map(len, tables.short.splitlines())) < 80
    assert [row[1] for row in class_rows(tables.full)] == [f"{i:04d}" for i in range(1000)]


def test_of_few_classes_all_are_shown_in_their_order():
    tables = statistics(CLASSES[10:50])
    assert tables.short == tables.full
    assert [row[1] for row in class_rows(tables.short)] == [f"{i:04d}" for i in range(10, 50)]
