"""A module for each package: models as its documentation has them, rows, and situations. They are one app, `shop`."""
