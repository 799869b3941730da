"""The published anchors.

Anchors are one array (levels, 3, 2): a level for each of the strides 8, 16 and 32, or 16 and 32,
three anchors each, width and height in input pixels.
"""

import numpy as np

# Of Darknet's cfg/, found on COCO: yolov3.cfg's at 416 pixels, yolov4.cfg's at 512.
V3_ANCHORS = np.array(
    [
        [(10, 13), (16, 30), (33, 23)],
        [(30, 61), (62, 45), (59, 119)],
        [(116, 90), (156, 198), (373, 326)],
    ],
    np.float32,
)
V4_ANCHORS = np.array(
    [
        [(12, 16), (19, 36), (40, 28)],
        [(36, 75), (76, 55), (72, 146)],
        [(142, 110), (192, 243), (459, 401)],
    ],
    np.float32,
)
V3_TINY_ANCHORS = np.array(
    [[(10, 14), (23, 27), (37, 58)], [(81, 82), (135, 169), (344, 319)]], np.float32
)
# Not a slip here: yolov4-tiny.cfg gives stride 16 the masks 1,2,3, and its weights were so trained.
V4_TINY_ANCHORS = np.array(
    [[(23, 27), (37, 58), (81, 82)], [(81, 82), (135, 169), (344, 319)]], np.float32
)
DEFAULT_ANCHORS = {
    "v3": V3_ANCHORS,
    "v3-spp": V3_ANCHORS,
    "v3-tiny": V3_TINY_ANCHORS,
    "v4": V4_ANCHORS,
    "v4-tiny": V4_TINY_ANCHORS,
}
