"""Axes: the algebra of sizes, numbers that stand for sizes, and reasons why sizes stay."""
