"""Takes samples and detections; returns the metrics of VOC and COCO, plots and a report."""
