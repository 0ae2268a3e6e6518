"""Packages that change managers, querysets, descriptors or models: this package with each, compared with Django."""
