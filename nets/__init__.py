"""Everything inside the graph: takes images and ground truth, returns losses and boxes."""
