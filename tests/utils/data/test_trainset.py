import pytest

from tests.vocset import add_image, add_list
from utils.data.trainset import TrainSource, read_training_samples
from utils.errors import UserError

SIZE = (64, 64)


@pytest.fixture
def data(tmp_path):
    for name in "abcdefgh":
        objects = [("cat", (5, 5, 20, 20)), ("dog", (5, 5, 30, 30))]
        add_image(tmp_path / "VOC2007", name, objects, size=(60, 80))
    return tmp_path


def test_they_are_those_of_the_split_and_of_the_classes(data, capsys):
    add_list(data / "VOC2007", "train", "ab")
    samples, classes = read_training_samples(TrainSource(data, SIZE, "train"))
    assert (len(samples), classes) == (1, ["cat", "dog"])
    file = data / "classes.txt"
    file.write_text("dog\n")
    samples, classes = read_training_samples(TrainSource(data, SIZE, classes_file=file))
    assert (len(samples), classes) == (1, ["dog"])
    assert all(sample.labels.tolist() == [0] for sample in samples)
    err = capsys.readouterr().err
    assert "1 of 2 images held out" in err
    assert "unknown class: 1" in err


def test_damaged_images_are_left_out_and_listed(data, tmp_path, capsys):
    damaged = data / "VOC2007" / "JPEGImages" / "a.png"
    damaged.write_bytes(damaged.read_bytes()[:200])  # the header is intact
    (data / "VOC2007" / "Annotations" / "b.xml").write_text("no xml")
    source = TrainSource(data, SIZE, "all", faults_file=tmp_path / "faults.csv")
    samples, _ = read_training_samples(source)
    assert not {"a", "b"} & {sample.image_id for sample in samples}
    err = capsys.readouterr().err
    assert "unreadable image: 1" in err and "unreadable annotation: 1" in err
    assert "images                          " in err  # the table of train.py
    rows = (tmp_path / "faults.csv").read_text().splitlines()
    assert [row.split(",")[1] for row in rows[1:]] == ["unreadable annotation", "unreadable image"]


def test_images_without_any_object_are_an_error(tmp_path):
    for name in "ab":
        add_image(tmp_path / "VOC2007", name)
    with pytest.raises(UserError, match="draw some boxes first"):
        read_training_samples(TrainSource(tmp_path, SIZE))
