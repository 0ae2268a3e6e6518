"""Runs this package beside others that change managers, querysets, descriptors or models, and compares with Django."""
