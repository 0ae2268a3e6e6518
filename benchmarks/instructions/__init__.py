"""Instructions of the hot paths, counted by callgrind and compared with a committed baseline."""
