"""What is inside the graph: backbones, necks, head, decoding, losses."""
