"""Vouchers: codes, the resource, its lists."""
