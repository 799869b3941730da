"""The window that `--show` opens."""

import cv2

from utils.inference.frames import Frame

ESCAPE = 27


class Window:
    """Shows frames with their detections drawn in, one window per source."""

    def show(self, frame: Frame) -> None:
        """Shows a frame: a still image until a key is pressed, a frame of a video at once.

        Raises:
            KeyboardInterrupt: The user pressed q or Esc.
        """
        cv2.imshow(frame.source.address, cv2.cvtColor(frame.drawn, cv2.COLOR_RGB2BGR))
        milliseconds = 0 if frame.source.is_image else 1  # 0 waits for a key
        if cv2.waitKey(milliseconds) & 0xFF in (ord("q"), ESCAPE):
            raise KeyboardInterrupt
