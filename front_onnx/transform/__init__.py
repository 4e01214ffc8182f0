"""Transforming: linear maps along axes, applied to one stack of weights at a time."""
