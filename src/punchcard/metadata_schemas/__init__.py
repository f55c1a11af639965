"""Metadata schemas: which metadata a project's records may carry."""
