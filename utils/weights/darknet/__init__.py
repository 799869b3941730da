"""In: Darknet's .cfg and .weights. Out: a detector of this project, and the other way round."""
