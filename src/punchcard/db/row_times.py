"""Moments of the rows that one batch writes: no two of a table are the same, since lists are paged by them."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TypeVar

RowT = TypeVar("RowT")


def timed(rows: Sequence[RowT], first: datetime) -> list[tuple[RowT, datetime]]:
    """Each row with a moment of its own, one microsecond apart."""
    return [(row, first + timedelta(microseconds=no)) for no, row in enumerate(rows)]
