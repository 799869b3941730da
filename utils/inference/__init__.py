"""Takes images, videos and a detector; returns detections in pixels of the original images."""
