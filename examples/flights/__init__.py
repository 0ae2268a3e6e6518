"""A small Django project: the flights that left New York in 2013, streamed with related rows. `script/demo` runs it."""
