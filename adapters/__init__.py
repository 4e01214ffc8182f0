"""Weights home to the framework they are trained in: `front_onnx.adapters.torch`, `.keras`, `.flax`.

Each module imports its framework, and nothing in the core imports these.
"""
