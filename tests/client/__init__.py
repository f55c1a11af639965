"""Tests of the import client."""
