"""Punchcard: a self-hosted promotion and loyalty engine whose heart is the bulk import of historical orders."""

__version__ = "0.1.0"
