"""Segments. For now the inbox alone: customers that changed wait in it for the segment lane."""
