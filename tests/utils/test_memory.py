import gc
import resource

import pytest

from utils import memory


@pytest.fixture
def system(monkeypatch, tmp_path):
    """A machine with 3000 kB available, without containers."""
    (tmp_path / "meminfo").write_text("MemTotal:  9000 kB\nMemAvailable:  3000 kB\n")
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    return tmp_path


def test_machine(system):
    assert memory.available_memory() == 3000 * 1024


def test_container(system):
    (system / "memory.max").write_text("2000000\n")
    (system / "memory.current").write_text("1500000\n")
    (system / "memory.stat").write_text("anon 100\ninactive_file 300000\n")
    assert memory.available_memory() == 800_000


def test_container_without_limit(system):
    (system / "memory.max").write_text("max\n")
    (system / "memory.current").write_text("1500000\n")
    assert memory.available_memory() == 3000 * 1024


def test_unknown_system(system):
    (system / "meminfo").unlink()
    assert memory.available_memory() is None


def test_garbage_collection_is_restored():
    with pytest.raises(ValueError), memory.without_garbage_collection():
        assert not gc.isenabled()
        raise ValueError
    assert gc.isenabled()


@pytest.mark.skipif(not memory.PAGES.is_file(), reason="has no effect outside Linux")
def test_limit_of_memory():
    before = resource.getrlimit(resource.RLIMIT_AS)
    with memory.limited_memory(2**29), memory.limited_memory(2**30):
        bytearray(2**28)
        with pytest.raises(MemoryError):
            bytearray(3 * 2**28)  # the outer limit counts
    assert resource.getrlimit(resource.RLIMIT_AS) == before
    bytearray(3 * 2**28)


def test_memory_is_not_limited_where_its_size_is_not_known(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "PAGES", tmp_path / "statm")
    with memory.limited_memory(2**20):
        bytearray(2**25)
