"""Decides how each lookup is attached to each model."""
