"""Runs detectors on letterboxed images: one file per runtime."""
