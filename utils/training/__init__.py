"""Takes settings and a VOC folder; returns a run directory with trained weights and metrics."""
