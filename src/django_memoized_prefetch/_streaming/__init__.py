"""`chunks()`: reads a queryset chunk by chunk, and reports the progress."""
