"""Takes the .cfg and .weights of a Darknet detector; returns ours, and vice versa."""
