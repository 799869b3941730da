"""Prediction jobs on a cluster of Ray."""
