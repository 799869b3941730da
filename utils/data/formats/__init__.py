"""Converts datasets between VOC folders and the COCO and YOLO formats."""
