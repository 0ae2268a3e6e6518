"""`partitions()`: cuts a table into even parts for many workers, and keeps a memory for each run of them."""
