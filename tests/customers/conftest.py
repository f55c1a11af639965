"""A PostgreSQL without workers, as the tests of the queue have it: for portions that are run one by one."""

from tests.bulk.conftest import workerless

__all__ = ["workerless"]
