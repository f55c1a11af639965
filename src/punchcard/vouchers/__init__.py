"""Vouchers: codes that a customer redeems for a discount or gift credits."""
