"""Folders that hold a model and what goes with it: configurations, tokenizers, other files of ONNX."""
