"""Calibration: weights of a resized model fitted in closed form, layer by layer, to what its source computes."""
