"""The support matrix: many architectures from every exporter, each resized four ways, held against native exports.

Each module is a suite, a list `ENTRIES` of one framework's models; `run.py` runs them and writes `docs/support.md`.
"""
