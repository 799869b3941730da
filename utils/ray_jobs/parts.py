"""The parts of a job. Each has some of the sources, and one file of records."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from utils.inference.sources import Source, SourceList

# A worker that dies loses the part it works on, and others wait for the last part, so parts are
# small. But each part has a file and a message to the process that divides the job, so large jobs
# have larger ones: as many images per part as parts, up to a million images.
MIN_IMAGES, MAX_IMAGES = 32, 1000
# A video can take as long as thousands of images, so each is a part, up to this number of videos.
MAX_SINGLE_VIDEOS = 256


@dataclass(frozen=True)
class Part:
    """Some sources of a job.

    The addresses are in one value, since a million strings take more memory.

    Attributes:
        name: Name of the file of records.
        first: Position of the first source in the list of all sources.
        step: Distance to the position of the next one.
        addresses: Addresses of the sources, each with a zero byte at its end.
    """

    name: str
    first: int
    step: int
    addresses: bytes

    def sources(self) -> list[Source]:
        """Returns the sources."""
        items = [os.fsdecode(each) for each in self.addresses.split(b"\0")[:-1]]
        return [
            replace(source, index=self.first + i * self.step)
            for i, source in enumerate(SourceList(items))
        ]


@dataclass(frozen=True)
class PartRecord:
    """What the manifest states about a part whose file is written.

    Attributes:
        part: Name of the file.
        sources: Number of sources.
        records: Number of records; a video has one per frame.
        errors: Number of records with an error.
        bytes: Size of the file.
        blake2b: Digest of the file.
    """

    part: str
    sources: int
    records: int
    errors: int
    bytes: int
    blake2b: str


class PartList(Sequence[Part]):
    """The parts of a job.

    They follow from the sources alone, whatever the number of workers: when a job continues, its
    parts are the same. In the order of their names, their records are in the order of the sources.

    Args:
        sources: The sources of the job, all of them files.
        suffix: Suffix of the files of records.

    Attributes:
        number_of_sources: Number of sources of all parts.
    """

    def __init__(self, sources: SourceList, suffix: str):
        self.number_of_sources = len(sources)
        self._sources = sources
        self._suffix = suffix
        self._borders = _borders(sources)

    def __len__(self) -> int:
        return len(self._borders) - 1

    def __getitem__(self, number: int) -> Part:
        part = self._slice(number)
        addresses = [os.fsencode(part.address(i)) + b"\0" for i in range(len(part))]
        return Part(self.name(number), part.indices[0], part.indices.step, b"".join(addresses))

    def name(self, number: int) -> str:
        """Returns the name of a part: the positions of its first and last source."""
        digits = len(str(self._sources.indices[-1]))
        indices = self._slice(number).indices
        first, last = (f"{index:0{digits}}" for index in (indices[0], indices[-1]))
        return f"part-{first}-{last}{self._suffix}"

    def _slice(self, number: int) -> SourceList:
        if not 0 <= number < len(self):
            raise IndexError(number)
        return self._sources[self._borders[number] : self._borders[number + 1]]


def _borders(sources: SourceList) -> list[int]:
    """Returns the position of the first source of each part, and the number of sources."""
    are_videos = [sources.is_video_file(position) for position in range(len(sources))]
    # If there are only images, or only videos, this many fill a part. Otherwise, each counts as a
    # fraction of a part.
    images_per_part = min(max(MIN_IMAGES, math.isqrt(len(sources))), MAX_IMAGES)
    videos_per_part = min(max(1, -(-sum(are_videos) // MAX_SINGLE_VIDEOS)), images_per_part)
    capacity = images_per_part * videos_per_part
    borders, free = [], 0
    for position, is_video in enumerate(are_videos):
        size = images_per_part if is_video else videos_per_part
        if size > free:
            borders.append(position)
            free = capacity
        free -= size
    return [*borders, len(sources)]
