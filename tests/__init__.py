"""Tests go through the front door: the HTTP API and the command line, on a real PostgreSQL."""
