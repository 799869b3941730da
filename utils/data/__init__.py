"""In: a VOC folder. Out: checked samples, and batches of augmented images for training."""
