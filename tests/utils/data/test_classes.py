import pytest

from tests.vocset import add_image
from utils.data.classes import find_classes, read_classes
from utils.data.imagesets import ImageRef
from utils.errors import UserError


def test_found_classes_are_in_vocs_order_or_sorted(tmp_path):
    add_image(tmp_path, "x", [(name, (1, 1, 9, 9)) for name in ("sofa", "cat", "aeroplane")])
    add_image(tmp_path, "y", [("zebra", (1, 1, 9, 9)), ("cat", (1, 1, 9, 9))])
    x, y, missing = (ImageRef(tmp_path, name) for name in "xyz")
    assert find_classes([x]) == ["aeroplane", "cat", "sofa"]
    assert find_classes([x, y, missing]) == ["aeroplane", "cat", "sofa", "zebra"]


def test_names_without_their_byte_order_marks_survive_a_file(tmp_path):
    names = ("\ufeff", "\ufeffcat", "traffic\ufeff light")  # a list of classes may begin with them
    add_image(tmp_path, "x", [(name, (1, 1, 9, 9)) for name in names])
    found = find_classes([ImageRef(tmp_path, "x")])
    assert found == ["cat", "traffic light"]
    (tmp_path / "classes.txt").write_text(
        "\ufeff\ufeffcat\n\ufeff\ntraffic light\n", encoding="utf-8"
    )
    assert read_classes(tmp_path / "classes.txt") == found


def test_a_file_has_one_name_per_line(tmp_path):
    path = tmp_path / "classes.txt"
    path.write_text("\ufeffcat\n\ntraffic light \r\n浣熊\n", encoding="utf-8")
    assert read_classes(path) == ["cat", "traffic light", "浣熊"]
    path.write_text("cat\ndog\ncat\n")
    with pytest.raises(UserError, match="'cat' occurs twice"):
        read_classes(path)
    path.write_text("\n")
    with pytest.raises(UserError, match="no class"):
        read_classes(path)
