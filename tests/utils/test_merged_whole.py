import pytest

from utils.files import merged_whole


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_text(encoding="utf-8")
        for path in folder.rglob("*.*")
    }


def test_an_earlier_result_stays_until_the_new_one_is_complete(tmp_path):
    out = tmp_path / "out"
    owned = {"detection-results": ".txt"}
    with merged_whole(out, owned) as folder:
        (folder / "detection-results").mkdir()
        for name in ("old", "both"):
            (folder / "detection-results" / f"{name}.txt").write_text("first")
        (folder / "results.json").write_text("first")
    (out / "mine.txt").write_text("not ours")
    before = contents(out)
    with pytest.raises(OSError, match="full"), merged_whole(out, owned) as folder:
        (folder / "results.json").write_text("second")
        raise OSError("disk full")
    assert contents(out) == before
    with merged_whole(out, owned) as folder:
        (folder / "detection-results").mkdir()
        (folder / "detection-results" / "both.txt").write_text("second")
    assert contents(out) == {
        "detection-results/both.txt": "second",
        "results.json": "first",
        "mine.txt": "not ours",
    }
