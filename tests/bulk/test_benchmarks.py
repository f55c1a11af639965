"""`make bench` still runs: one round of it. What it measures is not asserted."""

import asyncio

from benchmarks import claims, flood, growth, imports, queue
from benchmarks.fairness import Mix, most_served
from benchmarks.workers import OURS, PROCRASTINATE
from punchcard import settings as configuration


def test_one_round(workerless: str) -> None:
    measured = asyncio.run(imports.measure(workerless, configuration.load(environment={}), rounds=1))
    assert len(imports.table(measured)) == 5


def test_one_round_of_growth(workerless: str) -> None:
    sizes = growth.Sizes(orders=20, customers=15, products=5, stored=(40, 300), of_one_customer=50, rounds=1)
    measured = asyncio.run(growth.measure(workerless, configuration.load(environment={}), sizes))
    assert [ratio for _, _, ratio in growth.table(measured, sizes)].count("1") == 2


def test_empty_jobs_in_both_queues(workerless: str) -> None:
    sizes = queue.Sizes(lanes=6, jobs=12, jobs_of_one_lane=0, single_jobs=2, processes=1, concurrencies=(2,), rounds=1)
    figures = asyncio.run(queue.measure(workerless, sizes))
    assert figures.lanes.keys() == figures.starts.keys() == {OURS, PROCRASTINATE}
    # a job cannot start before its commit was sent
    assert all(len(found) == 2 and min(found) > 0 for found in figures.starts.values())
    assert all(one.worker_s > 0 and one.server_s > 0 for (one,) in figures.lanes.values())
    assert [row[2] for row in queue.table(figures, sizes)].count("1") == 1


def test_claims_before_and_after_churn(workerless: str) -> None:
    sizes = claims.Sizes(lanes=(4,), waiting=200, portions=40, turns=20, rounds=1, processes=1, quiet_waiting=100)
    quiet, busy = asyncio.run(claims.measure(workerless, configuration.load(environment={}), sizes))
    assert quiet.churn_seconds == 0 < busy.churn_seconds
    for turns in (quiet.before, quiet.after, busy.before, busy.after):
        assert len(turns.seconds) == 20
        assert turns.by_lane.keys() <= {"fifo", "round_robin"}
        assert turns.blocks[0] > 0
    assert len(claims.table([quiet, busy])) == 4


def test_a_flood_of_the_real_queue(workerless: str) -> None:
    mix = Mix(projects=8, jobs=20, workers=1, portion_s=0.002)
    sizes = flood.Sizes(mix=mix, flood=100, rounds=1, jobs_tried=20)
    measured = asyncio.run(flood.measure(workerless, sizes))
    (pair,) = measured.pairs
    assert len(pair.calm.waits) == len(pair.flooded.waits) > 0
    # a worker whose list was read before a turn of another's may give a lane one more
    assert most_served(measured.pairs) <= 2
