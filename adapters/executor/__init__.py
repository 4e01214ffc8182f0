"""ONNX graphs as torch modules: a topological walk over one table of operators (`table.py`, filled by `operators/`)."""
