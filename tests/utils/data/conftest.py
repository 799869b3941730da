import pytest

from tests.vocset import add_image, add_list


@pytest.fixture
def devkit(tmp_path):
    """Two years with different lists; the annotations have no objects."""
    for year, lists in {
        "2007": {"train": "ab", "val": "cd", "trainval": "abcd", "test": "ef"},
        "2012": {"trainval": "ghijklmnopqrstuvwxyz"},
    }.items():
        for name, members in lists.items():
            add_list(tmp_path / f"VOC{year}", name, members)
            for member in members:
                add_image(tmp_path / f"VOC{year}", member, size=(4, 4))
    return tmp_path
