"""`make bench` still runs against a server: one round of what measures requests. What it measures is not asserted."""

from benchmarks import campaigns, serving
from benchmarks.campaigns import Many
from benchmarks.stored import Stored
from tests.deployment import Deployment


def test_one_round(deployment_18: Deployment) -> None:
    sizes = serving.Sizes(Stored(12_000, 500), orders=20, customers=15, products=5, rounds=1, reads=3, imports=2)
    figures = serving.measure(deployment_18, sizes)
    assert {"GET /healthz", "GET /v1/orders/{id}", "POST /v1/orders/import"} <= figures.idle.keys()
    assert serving.table(figures)
    assert len(serving.accept_table(figures)) == 3


def test_campaigns(deployment_18: Deployment) -> None:
    sizes = campaigns.Sizes(vouchers=200, rounds=1, many=(Many(3, 40, small=2), Many(4, 2)))
    figures = campaigns.measure(deployment_18, sizes)
    assert [row[2] for row in campaigns.table(figures, sizes)].count("1") == 1
    small, none = figures.shared
    assert small.small_done is not None
    assert 0 < small.small_turns <= small.turns
    assert none.small_done is None
    assert all(0 < one.under_way < one.all_done and one.turns >= one.many.campaigns for one in figures.shared)
