"""Blocks: the flow of data, cut into segments; units that repeat; the chains that they make, and their ports."""
