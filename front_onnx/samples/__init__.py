"""Samples: unlabeled inputs of a graph, read from wherever they are, or made up."""
