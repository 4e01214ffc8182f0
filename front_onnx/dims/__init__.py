"""Dims: the sizes of a model by kind and name, as users say them."""
