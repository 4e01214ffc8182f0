"""Reading: a model without its large weights in memory, and an index over its graph."""
