"""Campaigns: vouchers that are made alike, change together and go together."""
