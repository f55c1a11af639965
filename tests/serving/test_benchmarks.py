"""`make bench` still runs against a server: one round of what measures requests. What it measures is not asserted."""

from benchmarks import serving
from benchmarks.stored import Stored
from tests.deployment import Deployment


def test_one_round(deployment_18: Deployment) -> None:
    sizes = serving.Sizes(Stored(12_000, 500), orders=20, customers=15, products=5, rounds=1, reads=3, imports=2)
    figures = serving.measure(deployment_18, sizes)
    assert {"GET /healthz", "GET /v1/orders/{id}", "POST /v1/orders/import"} <= figures.idle.keys()
    assert serving.table(figures)
    assert len(serving.accept_table(figures)) == 3
