"""A sample history, shipped with the package: real orders to try the import with."""

from pathlib import Path


def path() -> Path:
    """The first 2,000 invoices of Online Retail; README.md beside it names the source and the licence."""
    return Path(__file__).with_name("online-retail-sample.csv.xz")
