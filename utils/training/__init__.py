"""In: settings and samples. Out: a run directory with trained weights."""
