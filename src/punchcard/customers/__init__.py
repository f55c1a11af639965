"""Customers: who ordered and who referred, with the summary of their orders."""
