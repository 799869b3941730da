import errno
import os
from pathlib import Path

import pytest

from utils import files
from utils.errors import UserError
from utils.files import OutputFolder, is_in_use, merged_whole, refuse_existing, written_whole


def names_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


class TestOutputFolder:
    def test_names_are_unique_within_a_run_and_replace_those_of_an_earlier_one(self, tmp_path):
        folder = OutputFolder(tmp_path / "new" / "out")
        assert folder.path("a", ".jpg") == tmp_path / "new" / "out" / "a.jpg"
        assert folder.path("a", ".png").name == "a.png"
        assert folder.path("a", ".jpg").name == "a-2.jpg"
        assert folder.path("A", ".jpg").name == "A-3.jpg"
        (tmp_path / "new" / "out" / "a.jpg").touch()
        assert OutputFolder(tmp_path / "new" / "out").path("a", ".jpg").name == "a.jpg"

    def test_time_for_many_files_of_one_name_is_linear(self, tmp_path, monkeypatch):
        resolved, identity = [], files._identity
        monkeypatch.setattr(files, "_identity", lambda path: resolved.append(1) or identity(path))
        folder = OutputFolder(tmp_path)
        names = [folder.path("a", ".jpg").name for _ in range(100)]
        assert names == ["a.jpg", *(f"a-{number}.jpg" for number in range(2, 101))]
        assert len(resolved) <= 4 * 100

    def test_existing_files_can_be_kept(self, tmp_path):
        (tmp_path / "a.png").touch()
        assert OutputFolder(tmp_path, replace=False).path("a", ".png").name == "a-2.png"

    def test_sources_are_not_overwritten(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        folder = OutputFolder(tmp_path)
        folder.protect([Path("a.jpg")])
        assert folder.path("a", ".jpg").name == "a-2.jpg"

    def test_long_names_fit_the_file_system(self, tmp_path):
        folder = OutputFolder(tmp_path)
        for _ in range(2):
            path = folder.path("浣" * 100, ".heatmap.jpg")
            with written_whole(path) as (part,):
                part.touch()
        # 72 characters of 3 bytes and 12 of the suffix are 228 bytes; 25 are left for a prefix.
        assert [len(path.name) for path in sorted(tmp_path.iterdir())] == [86, 84]

    def test_long_names_keep_their_end(self, tmp_path):
        folder = OutputFolder(tmp_path)
        paths = [folder.path("x" * 250 + f"_{number:06}", ".txt") for number in range(2)]
        # 255 bytes, less 25 for a prefix and 4 of the suffix
        assert [path.name for path in paths] == [
            "x" * 219 + "_000000.txt",
            "x" * 219 + "_000001.txt",
        ]


def test_refuse_existing(tmp_path):
    refuse_existing(tmp_path / "a", tmp_path / "b")
    (tmp_path / "b").touch()
    with pytest.raises(UserError, match="b already exists"):
        refuse_existing(tmp_path / "a", tmp_path / "b")


def test_is_in_use(tmp_path):
    assert not is_in_use(tmp_path / "nowhere")
    assert not is_in_use(tmp_path)
    (tmp_path / "file").touch()
    assert is_in_use(tmp_path / "file")
    assert is_in_use(tmp_path)


class TestWrittenWhole:
    @pytest.mark.parametrize("letter", ["x", "浣"])
    def test_the_longest_name_can_be_written(self, tmp_path, letter):
        count = 240 // len(letter.encode())
        paths = [tmp_path / f"{start}{letter * count}.weights.h5" for start in "ab"]
        with written_whole(*paths) as parts:
            for part in parts:
                assert part.name.endswith(".weights.h5")
                part.write_text(part.name)
        assert names_in(tmp_path) == [path.name for path in paths]
        assert paths[0].read_text() != paths[1].read_text()

    def test_files_appear_together_at_the_end(self, tmp_path):
        one, two = tmp_path / "a.txt", tmp_path / "b.txt"
        one.write_text("old")
        with written_whole(one, two) as parts:
            for part, text in zip(parts, ("new", "two"), strict=True):
                part.write_text(text)
            assert one.read_text() == "old"
            assert not two.exists()
        assert (one.read_text(), two.read_text()) == ("new", "two")
        assert names_in(tmp_path) == ["a.txt", "b.txt"]

    def test_the_suffix_is_kept(self, tmp_path):
        with written_whole(tmp_path / "a.weights.h5") as (part,):
            assert part.name.endswith("a.weights.h5")
            part.touch()

    def test_an_error_leaves_the_old_files(self, tmp_path):
        old, new = tmp_path / "old", tmp_path / "new"
        old.write_text("old")
        with pytest.raises(KeyboardInterrupt), written_whole(old, new) as parts:
            parts[0].write_text("half")
            raise KeyboardInterrupt
        assert names_in(tmp_path) == ["old"]
        assert old.read_text() == "old"

    def test_a_folder_replaces_an_empty_one(self, tmp_path):
        (tmp_path / "out").mkdir()
        with written_whole(tmp_path / "out") as (part,):
            part.mkdir()
            (part / "a").touch()
        assert names_in(tmp_path) == ["out/a"]

    def test_a_folder_does_not_replace_one_with_files(self, tmp_path):
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "old").touch()
        with (
            pytest.raises(OSError, match="not empty") as caught,
            written_whole(tmp_path / "out") as (part,),
        ):
            part.mkdir()
            (part / "a").touch()
        assert caught.value.filename == str(tmp_path / "out")
        assert names_in(tmp_path) == ["out/old"]

    def test_files_of_a_killed_process_are_removed(self, tmp_path):
        with written_whole(tmp_path / "out") as (part,):
            name = part.name
            part.touch()
        (tmp_path / name).mkdir()
        (tmp_path / name / "half").touch()
        with written_whole(tmp_path / "out") as (part,):
            assert not part.exists()
            part.write_text("whole")
        assert names_in(tmp_path) == ["out"]

    def test_processes_that_share_a_path_use_separate_files(self, tmp_path, monkeypatch):
        with written_whole(tmp_path / "out", shared=True) as (one,):
            one.write_text("one")
            monkeypatch.setattr(os, "getpid", lambda: 1)
            with written_whole(tmp_path / "out", shared=True) as (other,):
                other.write_text("other")
            assert one != other
            assert (tmp_path / "out").read_text() == "other"
        assert (tmp_path / "out").read_text() == "one"

    def test_durable_files_are_flushed_before_and_after_the_rename(self, tmp_path, monkeypatch):
        flushed = []
        monkeypatch.setattr(os, "fsync", lambda file: flushed.append(os.fstat(file).st_ino))
        with written_whole(tmp_path / "out", durable=True) as (part,):
            part.touch()
        assert flushed == [(tmp_path / "out").stat().st_ino, tmp_path.stat().st_ino]

    @pytest.mark.parametrize("folder", ["nowhere", "file"])
    def test_an_error_names_the_final_path(self, tmp_path, folder):
        (tmp_path / "file").touch()
        path = tmp_path / folder / "a.txt"
        with pytest.raises(OSError, match=str(path)), written_whole(path) as (part,):
            part.write_text("text")

    def test_a_full_disk_is_reported_with_the_final_path(self, tmp_path):
        path = tmp_path / "a.txt"
        with pytest.raises(OSError, match="No space") as caught, written_whole(path):
            raise OSError(errno.ENOSPC, "No space left on device")
        assert caught.value.filename == str(path)

    def test_an_error_of_another_file_keeps_its_name(self, tmp_path):
        with pytest.raises(FileNotFoundError) as caught, written_whole(tmp_path / "a"):
            (tmp_path / "source").read_text()
        assert caught.value.filename == str(tmp_path / "source")


class TestMergedWhole:
    def test_new_files_replace_old_ones_and_outdated_owned_files_are_removed(self, tmp_path):
        for name in ("a.txt", "owned/old.txt", "owned/keep.png", "other/old.txt"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text("old")
        with merged_whole(tmp_path, {"owned": ".txt", "unwritten": ".txt"}) as new:
            (new / "a.txt").write_text("new")
            (new / "owned").mkdir()
            (new / "owned" / "new.txt").write_text("new")
            assert (tmp_path / "a.txt").read_text() == "old"
        assert names_in(tmp_path) == ["a.txt", "other/old.txt", "owned/keep.png", "owned/new.txt"]
        assert (tmp_path / "a.txt").read_text() == "new"

    def test_an_owned_folder_that_is_not_written_keeps_its_files(self, tmp_path):
        (tmp_path / "owned").mkdir()
        (tmp_path / "owned" / "old.txt").touch()
        with merged_whole(tmp_path, {"owned": ".txt"}) as new:
            (new / "a.txt").touch()
        assert names_in(tmp_path) == ["a.txt", "owned/old.txt"]

    def test_an_error_leaves_the_earlier_result(self, tmp_path):
        (tmp_path / "a.txt").write_text("old")
        with pytest.raises(ZeroDivisionError), merged_whole(tmp_path, {}) as new:
            (new / "a.txt").write_text("new")
            raise ZeroDivisionError
        assert (tmp_path / "a.txt").read_text() == "old"
        assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_pipes_and_devices_are_written_directly(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with written_whole(pipe, Path(os.devnull), tmp_path / "file") as (part, null, file):
        part.write_text("anchors")
        null.write_text("lost")
        file.write_text("kept")
    assert os.read(reader, 100) == b"anchors"
    os.close(reader)
    assert pipe.is_fifo() and Path(os.devnull).is_char_device()
    assert (tmp_path / "file").read_text() == "kept"
