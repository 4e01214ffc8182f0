"""Residual streams: what normalises them, and what each block adds to them."""
