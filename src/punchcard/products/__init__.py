"""Products and SKUs: the catalogue."""
