"""The queue between requests, the threads that decode, and the thread that runs the network."""

import time
from collections import deque
from dataclasses import dataclass
from threading import Condition, Lock

from utils.serving.work import Picture, Work


@dataclass(frozen=True, eq=False)
class Entry:
    """A decoded image that waits for the network.

    Attributes:
        work: The work that it belongs to.
        index: Its position in the request.
        picture: The image.
    """

    work: Work
    index: int
    picture: Picture


class WorkQueue:
    """Works that wait for decoding, and decoded images that wait for the network.

    Only a few images are decoded ahead, so most of the waiting requests are small. Works that have
    ended, since their client has vanished or their deadline has passed, are dropped on the way.

    Args:
        ahead: Number of images that may be decoded ahead.
    """

    def __init__(self, ahead: int):
        self._ahead = ahead
        self._waiting: deque[Work] = deque()
        self._decoding = 0
        self._ready: deque[Entry] = deque()
        self._closed = False
        lock = Lock()
        self._can_decode, self._has_room, self._can_run = (Condition(lock) for _ in range(3))

    def __len__(self) -> int:
        """The number of requests and decoded images that wait."""
        return len(self._waiting) + len(self._ready)

    def put(self, work: Work, first: bool = False) -> None:
        """Adds a work, at the front if it is to be `first`."""
        with self._can_decode:
            (self._waiting.appendleft if first else self._waiting.append)(work)
            self._can_decode.notify()

    def next_work(self) -> Work | None:
        """Waits for a work to decode; `decoded` must be called after it. None at the end."""
        with self._can_decode:
            while True:
                while self._waiting and len(self._ready) + self._decoding < self._ahead:
                    work = self._waiting.popleft()
                    if work.is_open():
                        self._decoding += 1
                        return work
                if self._closed and not self._waiting:
                    self._can_run.notify_all()
                    return None
                self._can_decode.wait()

    def offer(self, entry: Entry) -> None:
        """Adds a decoded image, when there is room and while its work is open."""
        with self._has_room:
            while len(self._ready) >= self._ahead and entry.work.is_open():
                self._has_room.wait(0.1)  # the client may vanish meanwhile
            if entry.work.is_open():
                self._ready.append(entry)
                self._can_run.notify()

    def decoded(self) -> None:
        """Ends the decoding of a work of `next_work`."""
        with self._can_decode:
            self._decoding -= 1
            self._can_decode.notify()
            self._can_run.notify()

    def take(self, count: int, max_wait: float) -> list[Entry] | None:
        """Waits for decoded images and takes those that are there.

        Args:
            count: Maximum number of images.
            max_wait: Seconds to wait for more images than there are.

        Returns:
            At least one image, or None at the end.
        """
        with self._can_run:
            while not self._ready:
                if self._closed and not self._waiting and not self._decoding:
                    return None
                self._can_run.wait()
            end = time.monotonic() + max_wait
            while len(self._ready) < count and (left := end - time.monotonic()) > 0:
                self._can_run.wait(left)
            taken = [self._ready.popleft() for _ in range(min(count, len(self._ready)))]
            self._can_decode.notify(len(taken))
            self._has_room.notify(len(taken))
            return taken

    def close(self) -> None:
        """Lets the threads end when all works are done. No work may be put afterwards."""
        with self._can_decode:
            self._closed = True
            self._can_decode.notify_all()
            self._can_run.notify_all()
