"""Takes weight files of this and other projects; returns tensors named as our layers are."""
