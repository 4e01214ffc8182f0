"""The test zoo: small real architectures, their exports, and the oracle that judges a resized graph."""
