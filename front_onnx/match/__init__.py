"""Matching two models by structure and role, whatever their exporters called things."""
