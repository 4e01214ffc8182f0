"""Calibration: unlabeled inputs of a graph, and what a resized model learns of them without a training step."""
