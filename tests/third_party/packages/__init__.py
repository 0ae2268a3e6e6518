"""A module for each package, with models as in its documentation, rows, and situations. Its app is called `shop`."""
