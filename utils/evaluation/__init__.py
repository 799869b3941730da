"""In: samples and detections. Out: VOC and COCO figures, curves and a report."""
