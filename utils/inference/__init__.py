"""In: pictures, videos and a detector. Out: detections in their own pixels, drawn or as JSON."""
