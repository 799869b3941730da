"""Takes a VOC folder; returns checked samples and batches of augmented images."""
