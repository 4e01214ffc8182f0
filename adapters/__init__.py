"""Weights home to the framework they are trained in: `front_onnx.adapters.torch`, `.keras`, `.flax`.

Training of ONNX files themselves, in torch: `.executor` (graphs as modules), `.spectral` (L_reg), `.refine` (FRONT++).
Each module imports its framework, and nothing in the core imports these.
"""
