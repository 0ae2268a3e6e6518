"""Processes chunks: sessions, sets of lookups, and the levels of one chunk."""
