"""The kinds of relations: one class for each way to attach a lookup."""
