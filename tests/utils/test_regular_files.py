import os
import socket

import pytest

from utils.errors import UserError
from utils.regular_files import read_regular


class TestReadRegular:
    @pytest.mark.parametrize("data", [b"", b"a\r\nb\x1a\0"])
    def test_a_file_is_read_byte_for_byte(self, tmp_path, data):
        (tmp_path / "a").write_bytes(data)
        assert read_regular(tmp_path / "a", 6) == data

    def test_a_file_of_which_the_system_reads_only_parts(self, tmp_path, monkeypatch):
        (tmp_path / "a").write_bytes(b"abcde")
        read = os.read
        monkeypatch.setattr(os, "read", lambda file, count: read(file, min(count, 2)))
        assert read_regular(tmp_path / "a", 5) == b"abcde"

    def test_a_larger_file_is_refused(self, tmp_path):
        (tmp_path / "a").write_bytes(b"abc")
        with pytest.raises(UserError, match="a: it has more than 2 bytes"):
            read_regular(tmp_path / "a", 2)

    def test_a_missing_file_is_an_error_of_the_system(self, tmp_path):
        with pytest.raises(FileNotFoundError):
            read_regular(tmp_path / "a", 2)

    def test_other_files_are_named(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(tmp_path / "socket"))
            for name, kind in (("pipe", "named pipe"), ("socket", "socket"), (".", "folder")):
                with pytest.raises(UserError, match=f"it is a {kind}, specify a regular file"):
                    read_regular(tmp_path / name, 2)
