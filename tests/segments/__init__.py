"""Segments: what their filters mean, and who is in them."""
