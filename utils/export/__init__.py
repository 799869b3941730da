"""Exports runs to the formats of other runtimes: one file per format."""
