"""A PostgreSQL without workers, as the tests of the queue have it: for portions that are run one by one; and a session
that others have to wait for.
"""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.bulk.conftest import workerless
from tests.deployment import Deployment

__all__ = ["workerless"]


@pytest.fixture
def holding(deployment_18: Deployment) -> Iterator[psycopg.Connection[Any]]:
    """A session in a transaction: it holds what others have to wait for."""
    with psycopg.connect(deployment_18.dsn) as conn:
        yield conn
        conn.rollback()
