import json
from pathlib import Path

from tests.media import file_names, save_image, save_video
from tests.red_finder import picture
from utils.data.images import read_image


def test_image_is_written_with_its_detections(run):
    save_image("照片.png")
    code, out, _ = run("照片.png")
    assert code == 0
    assert out.splitlines() == ["照片.png -> img_out/照片.png", "  红/red 0.90 [32 16 64 48]"]
    drawn, original = read_image(Path("img_out/照片.png")), read_image(Path("照片.png"))
    assert drawn.shape == original.shape
    assert (drawn != original).any()
    assert (drawn[22:44, 38:58] == original[22:44, 38:58]).all()


def test_json_follows_the_contract_and_is_alone_on_standard_output(run):
    save_image("a.png", (128, 192), (64, 32, 128, 96))
    save_image("b.png", box=None)
    code, out, _ = run("a.png", "b.png", "--json", "--count", "--batch-size", 2)
    assert code == 0
    found = {"label": "红/red", "score": 0.9, "box": [64, 32, 128, 96]}
    assert json.loads(out) == [
        {"source": "a.png", "width": 192, "height": 128, "detections": [found]},
        {"source": "b.png", "width": 96, "height": 64, "detections": []},
    ]


def test_results_with_equal_names_are_all_kept(run):
    for path in ("a.jpg", "a.png", "one/a.jpg", "two/a.jpg"):
        save_image(path)
    save_video("a.mp4", count=2)
    code, out, _ = run("a.jpg", "a.png", "one", "two/*", "a.mp4", "a.jpg")
    assert code == 0
    assert file_names() == ["a-2.jpg", "a-3.jpg", "a-4.jpg", "a.jpg", "a.mp4", "a.png"]
    assert all(f"img_out/{name}" in out for name in file_names())


def test_sources_are_never_overwritten(run):
    save_image("photos/a.png")
    save_video("photos/v.mp4", count=2)
    before = {name: Path("photos", name).read_bytes() for name in file_names("photos")}
    assert run("photos", "--out", "photos")[0] == 0
    assert file_names("photos") == ["a-2.png", "a.png", "v-2.mp4", "v.mp4"]
    assert all(Path("photos", name).read_bytes() == data for name, data in before.items())


def test_crops_hold_the_pixels_of_objects_and_are_kept_by_later_runs(run):
    save_image("a.png")
    save_video("v.mp4", count=2)
    for _ in range(2):
        assert run("a.png", "v.mp4", "--crop")[0] == 0
    assert file_names("img_out/img_crop") == [
        *("a_红_red-2.png", "a_红_red.png", "v_000000_红_red-2.png", "v_000000_红_red.png"),
        *("v_000001_红_red-2.png", "v_000001_红_red.png"),
    ]
    crop = read_image(Path("img_out/img_crop/a_红_red.png"))
    assert (crop == picture(32, 32, (0, 0, 32, 32))).all()


def test_counts_are_printed_for_images_videos_and_in_total(run):
    save_image("a.png")
    save_image("b.png", box=None)
    save_video("v.mp4", count=2)
    _, out, _ = run("a.png", "b.png", "v.mp4", "--count")
    lines = [line for line in out.splitlines() if "->" not in line and "[" not in line]
    assert lines == [
        "  1 红/red",
        "  nothing",
        "  maximum in one frame: 1 红/red",
        "in all images: 1 红/red",
    ]


def test_unknown_formats_become_png(run):
    save_image("a.png")
    Path("a.png").rename("a.picture")
    assert run("a.picture")[0] == 0
    assert file_names() == ["a.png"]


def test_broken_source_among_others_is_reported_and_skipped(run):
    save_image("photos/a.png")
    save_image("photos/c.png")
    Path("photos/b.png").write_bytes(Path("photos/a.png").read_bytes()[:60])
    Path("photos/d.mp4").write_bytes(b"no video")
    code, out, err = run("photos", "--json")
    assert code == 1
    assert [entry["source"] for entry in json.loads(out)] == ["photos/a.png", "photos/c.png"]
    assert "photos/b.png" in err
    assert "photos/d.mp4" in err
    assert err.splitlines()[-1] == "error: 2 of 4 sources could not be read, see above"
    assert file_names() == ["a.png", "c.png"]
