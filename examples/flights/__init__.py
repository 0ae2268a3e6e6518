"""A small Django project that streams the flights from New York in 2013 with related rows. `script/demo` runs it."""
