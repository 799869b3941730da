"""Converts datasets between VOC folders and the formats of COCO and YOLO."""
