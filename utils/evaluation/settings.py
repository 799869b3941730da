"""Settings shared by get_map.py and by validation in training. Imports no large library."""

from typing import Literal

from utils.inference.thresholds import Thresholds

# The headline metric: VOC's mAP, VOC2007's 11-point mAP, or COCO's AP.
Metric = Literal["voc", "voc11", "coco"]

# Average precision also needs the detections with low scores.
THRESHOLDS = Thresholds(confidence=0.001, iou=0.5, max_boxes=100)
BATCH_SIZE = 8

MATCH_IOU = 0.5  # minimum IoU at which a detection matches an object
SCORE_THRESHOLD = 0.5  # minimum score in precision, recall, F1 and confusion matrix
