"""Models whose managers, querysets, descriptors and fields are not Django's own, as those of other packages."""
