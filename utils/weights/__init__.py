"""In: weights files of this and of other projects. Out: tensors under this project's names."""
