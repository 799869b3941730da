"""Images that change or vanish before a run is resumed."""

import pytest

from tests.vocset import add_image, add_list


@pytest.fixture
def unfinished(place):
    place.run.result.unlink()
    return place


@pytest.mark.parametrize("has_weights", [True, False])
def test_missing_images_are_named(unfinished, has_weights):
    if not has_weights:
        unfinished.run.best_weights.unlink()
    for number in (1, 3):
        (unfinished.data / "VOC2007" / "JPEGImages" / f"image{number}.png").unlink()
    before = unfinished.contents()
    code, _, err = unfinished.resume()
    line = err.splitlines()[-1]
    assert code == 2
    assert "VOC2007/image1, VOC2007/image3 are missing or unusable; restore them" in line
    assert ("--weights run/best.weights.h5" in line) == has_weights
    assert unfinished.contents() == before


def test_new_and_moved_images_are_named(unfinished):
    voc = unfinished.data / "VOC2007"
    add_image(voc, "image6", [("cat", (8, 8, 60, 50))])
    add_list(voc, "train", [f"image{number}" for number in (0, 1, 2, 3, 6)])
    code, _, err = unfinished.resume()
    assert code == 2 and "VOC2007/image6 is new" in err.splitlines()[-1]
    add_list(voc, "train", [f"image{number}" for number in (1, 0, 2, 3)])
    code, _, err = unfinished.resume()
    assert code == 2 and "in another order" in err.splitlines()[-1]


def test_run_of_an_earlier_version_has_no_list_of_images(unfinished):
    unfinished.run.images.unlink()
    (unfinished.data / "VOC2007" / "JPEGImages" / "image1.png").unlink()
    code, _, err = unfinished.resume()
    assert code == 2 and "they differ" in err.splitlines()[-1]


def test_moved_images_are_accepted(unfinished, sessions):
    unfinished.data.rename("elsewhere")
    code, _, err = unfinished.resume()
    assert code == 2 and "--data" in err
    code, _, err = unfinished.resume("--data", "elsewhere")
    assert code == 0, err
    ((session, _),) = sessions
    assert session.is_resumed and session.config.data == "elsewhere"
