"""Keeps the memory true to changes: notices them, and forgets what they made stale."""
