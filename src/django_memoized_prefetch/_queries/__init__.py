"""The queries for rows by key: their sources, conditions and limits, and when their rows may be remembered."""
