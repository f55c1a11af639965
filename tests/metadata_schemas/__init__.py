"""Metadata schemas: defined by command, read by API, judging records."""
