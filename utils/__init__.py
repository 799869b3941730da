"""Everything outside the graph: takes files and settings, returns weights, boxes and reports."""
