import pytest

from utils.training import job


@pytest.mark.parametrize(
    ("has_gpu", "cores", "expected"), [(False, 16, 0), (True, 4, 0), (True, 8, 8), (True, 64, 16)]
)
def test_processes_draw_the_images_on_many_cores_with_a_gpu(has_gpu, cores, expected, monkeypatch):
    monkeypatch.setattr(job, "has_gpu", lambda: has_gpu)
    monkeypatch.setattr(job, "logical_cores", lambda: cores)
    assert job.find_processes() == expected
