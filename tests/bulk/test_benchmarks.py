"""`make bench` still runs: one round of it. What it measures is not asserted."""

import asyncio

from benchmarks import imports
from punchcard import settings as configuration


def test_one_round(workerless: str) -> None:
    measured = asyncio.run(imports.measure(workerless, configuration.load(environment={}), rounds=1))
    assert len(imports.table(measured)) == 5
