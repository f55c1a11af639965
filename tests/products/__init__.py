"""Orders: the import, and reading back."""
