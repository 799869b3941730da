"""Follows the objects of a video from frame to frame, by ByteTrack (arXiv:2110.06864)."""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from utils.errors import UserError
from utils.inference.detections import Detections
from utils.inference.line_counter import Line, LineCounter
from utils.inference.tracks import Tracks, Trail
from utils.packages import missing_package

try:
    import supervision
    from trackers import ByteTrackTracker

    from utils.inference.full_box import FullBoxEstimator
except ModuleNotFoundError as error:
    raise missing_package("--track", error.name, "requirements-track.txt") from error

# The lowest score that continues a track, as a part of the one that starts a track. The paper takes
# 0.1 and 0.6, but then the false detections of weak detectors attract tracks.
LOW_SCORE = 0.5
# The lowest IoU of a detection and the place where its track is expected, as in SORT. With 0.1, the
# library's default, four times as many ids change in drawn crowds.
MIN_IOU = 0.3
TRAIL_LENGTH = 30  # frames, as in supervision


@dataclass(frozen=True)
class TrackingSettings:
    """How the objects of a video are tracked.

    Attributes:
        confidence: Minimum score of a detection that starts a track, 0..1. Detections with lower
            scores only continue tracks.
        line: Counts the objects that cross this line; None counts none.
    """

    confidence: float
    line: Line | None = None

    @property
    def detector_confidence(self) -> float:
        """Minimum score of the detections that a tracker needs, 0..1."""
        return LOW_SCORE * self.confidence

    def start(self, fps: float) -> "Tracker":
        """Returns a tracker for a video of a number of frames per second."""
        return Tracker(self, fps)


class Tracker:
    """Gives the objects of one video ids that stay with them.

    A track begins with the second of two frames in a row that show an object, so that a detection
    in a single frame has no id. An object that is hidden for up to a second keeps its id.

    Args:
        settings: How the objects are tracked.
        fps: Frames per second that the tracker will receive.
    """

    def __init__(self, settings: TrackingSettings, fps: float):
        self._settings = settings
        self._tracker = ByteTrackTracker(
            frame_rate=fps,
            track_activation_threshold=settings.confidence,
            high_conf_det_threshold=settings.confidence,
            minimum_iou_threshold=MIN_IOU,
            state_estimator_class=FullBoxEstimator,
        )
        self._counter = LineCounter(settings.line) if settings.line else None
        self._trails: dict[int, Trail] = {}

    def line_error(self, image: np.ndarray, address: str) -> UserError | None:
        """Returns the error of a line that is outside the video; None if it is inside.

        Args:
            image: The first frame, RGB uint8 (height, width, 3).
            address: Address of the video, for the message.
        """
        line = self._settings.line
        if line is None:
            return None
        height, width = image.shape[:2]
        start, end = np.rint(line.start).astype(int), np.rint(line.end).astype(int)
        if cv2.clipLine((0, 0, width, height), start.tolist(), end.tolist())[0]:
            return None
        return UserError(
            f"--count-line is outside the video {address} of {width}x{height} pixels, move it "
            "inside"
        )

    def update(
        self, image: np.ndarray, found: Detections, seconds: float | None = None
    ) -> tuple[Detections, Tracks]:
        """Tracks the objects of the next frame.

        Args:
            image: RGB uint8 (height, width, 3).
            found: Its detections with scores from `TrackingSettings.detector_confidence`.
            seconds: Time of the frame, which increases; None for frames at regular intervals.

        Returns:
            The detections with their ids, and all tracks. Detections below the confidence of the
            settings are left out unless they continue a track.
        """
        ids = self._associate(found, seconds)
        kept = (found.scores >= np.float32(self._settings.confidence)) | (ids >= 0)
        found = replace(
            found,
            boxes=found.boxes[kept],
            scores=found.scores[kept],
            labels=found.labels[kept],
            track_ids=ids[kept],
        )
        alive = {track.tracker_id + 1 for track in self._tracker.tracks}
        self._extend_trails(found, alive)
        trails = list(self._trails.values())
        if not self._counter:
            return found, Tracks(trails)
        self._counter.update(found, alive)
        return found, Tracks(trails, self._settings.line, self._counter.counts)

    def _associate(self, found: Detections, seconds: float | None) -> np.ndarray:
        """Returns the ids, (N,) int32 from 1; -1 for detections without a track."""
        ids = np.full(len(found), -1, np.int32)
        given = supervision.Detections(
            xyxy=found.boxes, confidence=found.scores, data={"index": np.arange(len(found))}
        )
        tracked = self._tracker.update(given, timestamp=seconds)  # in another order
        if len(tracked):
            numbers = tracked.tracker_id  # from 0; users of trackers count from 1
            ids[tracked.data["index"]] = np.where(numbers >= 0, numbers + 1, -1)
        return ids

    def _extend_trails(self, found: Detections, alive: set[int]) -> None:
        centres = (found.boxes[:, None, :2] + found.boxes[:, None, 2:]) / 2
        for centre, label, track in zip(
            centres, found.labels.tolist(), found.track_ids.tolist(), strict=True
        ):
            if track >= 0:
                earlier = self._trails.get(track)
                if earlier:
                    centre = np.concatenate([earlier.points[1 - TRAIL_LENGTH :], centre])
                self._trails[track] = Trail(label, centre)
        self._trails = {track: trail for track, trail in self._trails.items() if track in alive}
