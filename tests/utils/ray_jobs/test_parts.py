import os

import pytest

from utils.inference.sources import SourceList
from utils.ray_jobs.parts import PartList

FILES = [f"{i}.png" for i in range(1, 1000)]


@pytest.mark.parametrize(
    ("sources", "size"),
    [(1, 32), (1088, 32), (1089, 33), (10_000, 100), (10**6, 1000), (2 * 10**6, 1000)],
)
def test_parts_are_small_but_not_too_many(sources, size):
    parts = PartList(SourceList(["a.png"] * sources), ".jsonl")
    assert len(parts) == -(-sources // size)


def test_parts_have_all_sources_once_and_in_order():
    sources = SourceList(FILES[:101])
    parts = PartList(sources, ".jsonl")
    assert [part.name for part in parts] == [
        "part-000-031.jsonl",
        "part-032-063.jsonl",
        "part-064-095.jsonl",
        "part-096-100.jsonl",
    ]
    assert [source for part in parts for source in part.sources()] == list(sources)


def test_each_video_is_a_part_of_its_own():
    sources = SourceList(["a.png", "b.MP4", "c.png", "mp4.png", "e.avi", "f.mkv"])
    parts = PartList(sources, ".jsonl")
    assert [[source.name for source in part.sources()] for part in parts] == [
        ["a"],
        ["b"],
        ["c", "mp4"],
        ["e"],
        ["f"],
    ]
    assert [part.name for part in parts][2:] == [
        "part-2-3.jsonl",
        "part-4-4.jsonl",
        "part-5-5.jsonl",
    ]


@pytest.mark.parametrize(
    ("names", "sizes"),
    [
        (["a.mp4"] * 256, [1] * 256),
        (["a.mp4"] * 300, [2] * 150),
        (["a.mp4"] * 10**6, [1000] * 1000),
        # Four videos fill a part, and so do 44 images. With three videos, there is only space for
        # images, but the next source is a video.
        (["a.png", "b.mp4"] * 1000, [7, *[6] * 332, 1]),
    ],
)
def test_many_videos_share_parts(names, sizes):
    parts = PartList(SourceList(names), ".jsonl")
    assert [len(part.addresses) // 6 for part in parts] == sizes


def test_parts_of_a_shard_have_the_positions_in_the_whole_list():
    shard = SourceList(FILES[:101])[2::3]
    parts = PartList(shard, ".parquet")
    assert [part.name for part in parts] == ["part-02-95.parquet", "part-98-98.parquet"]
    assert [source for part in parts for source in part.sources()] == list(shard)
    assert parts.number_of_sources == 33


def test_names_that_are_not_utf8_and_have_line_breaks_are_kept():
    names = [os.fsdecode(b"a\xff.png"), "b\n.png", "ü ö.jpg"]
    [part] = PartList(SourceList(names), ".jsonl")
    assert [source.address for source in part.sources()] == names


def test_no_sources_are_no_parts():
    assert list(PartList(SourceList([]), ".jsonl")) == []
