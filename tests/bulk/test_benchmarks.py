"""`make bench` still runs: one round of it. What it measures is not asserted."""

import asyncio

from benchmarks import growth, imports
from punchcard import settings as configuration


def test_one_round(workerless: str) -> None:
    measured = asyncio.run(imports.measure(workerless, configuration.load(environment={}), rounds=1))
    assert len(imports.table(measured)) == 5


def test_one_round_of_growth(workerless: str) -> None:
    sizes = growth.Sizes(orders=20, customers=15, products=5, stored=(40, 300), of_one_customer=50, rounds=1)
    measured = asyncio.run(growth.measure(workerless, configuration.load(environment={}), sizes))
    assert [ratio for _, _, ratio in growth.table(measured, sizes)].count("1") == 2
