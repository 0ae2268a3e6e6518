"""What users read about a run: `stats()` and the views of the memory."""
