"""Settings shared by get_map.py and by validation in training. Imports no large library."""

from typing import Literal

from utils.inference.thresholds import Thresholds

# The headline metric: VOC's mAP, VOC2007's 11-point mAP, or COCO's AP.
Metric = Literal["voc", "voc11", "coco"]

# Average precision also needs the detections with low scores, and enough of them per image.
# Measured on BCCD with MobileNetV2 after six minutes of training: on its test images at 256x320 (13
# objects per image), and on squares of four such images (52 objects per image). NMS is relative to
# the network on two cores, at 13 objects per image; a weaker network needs the same.
#
#   max_boxes                      100    300    500   1000   2000
#   mAP50, 13 objects per image   .691   .735   .736   .736   .736
#   mAP50, 52 objects per image   .519   .634   .724   .739   .740
#   NMS                             1%     3%     7%    15%    16%
#
# With 500, validation in training takes little longer than with 100. For more crowded images,
# get_map.py has --max-boxes, and reports how many images reach the limit. COCO's metrics use the
# best 100 detections per image and class at any limit.
THRESHOLDS = Thresholds(confidence=0.001, iou=0.5, max_boxes=500)
BATCH_SIZE = 8

MATCH_IOU = 0.5  # minimum IoU at which a detection matches an object
SCORE_THRESHOLD = 0.5  # minimum score in precision, recall, F1 and confusion matrix
