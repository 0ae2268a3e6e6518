"""`plan()`: tells from key columns alone what a run would fetch."""
