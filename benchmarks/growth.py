"""The import of 2,000 orders into projects that have many already, against the same import into an empty one.

The projects take turns within a round, on one server; the empty one is a new one each time. In two of them
one customer owns all that is stored: in the first the request has two orders more of that customer's, in the
second all of its orders are that customer's, and so the empty one that it is compared with has one customer.
"""

from statistics import median

from msgspec import Struct

from benchmarks import orders, stored
from benchmarks.imports import Worker, worker
from benchmarks.stored import Stored
from punchcard import ids
from punchcard.projects import projects
from punchcard.settings import Settings


class Sizes(Struct):
    """Orders of a request, its customers and products; and what is stored."""

    orders: int = 2000
    customers: int = 1500
    products: int = 500
    stored: tuple[int, ...] = (100_000, 1_000_000)
    of_one_customer: int = 100_000
    rounds: int = 7


class Place(Struct):
    """A project that is measured: what it has, and the figure it is compared with."""

    what: str
    compared_with: str
    stored: Stored
    # of the request; one of them is the owner of all that is stored, where that is one
    customers: int
    project: str = ""


EMPTY, EMPTY_ONE = "an empty project", "an empty project, all of one customer"


async def measure(dsn: str, settings: Settings, sizes: Sizes) -> dict[str, list[float]]:
    """Seconds of each round by what was measured, after one round that is not counted."""
    measured: dict[str, list[float]] = {}
    async with worker(dsn, settings) as ours:
        places = [await _made(ours, dsn, place) for place in _places(sizes)]
        for _ in range(sizes.rounds + 1):
            for place in places:
                measured.setdefault(place.what, []).append(await _round(ours, place, sizes))
    return {what: seconds[1:] for what, seconds in measured.items()}


def _places(sizes: Sizes) -> list[Place]:
    owned = Stored(sizes.of_one_customer, 1)
    return [
        Place(EMPTY, EMPTY, Stored(0, 0), sizes.customers),
        *(
            Place(f"{number:,} orders stored", EMPTY, Stored(number, max(1, number * 3 // 4)), sizes.customers)
            for number in sizes.stored
        ),
        Place(f"one customer owns {owned.orders:,}, two orders more", EMPTY, owned, sizes.customers),
        Place(EMPTY_ONE, EMPTY_ONE, Stored(0, 0), 1),
        Place(f"one customer owns {owned.orders:,}, all orders of the request too", EMPTY_ONE, owned, 1),
    ]


async def _made(ours: Worker, dsn: str, place: Place) -> Place:
    """The project with what it is to have; an empty one is made anew for each round."""
    if place.stored.orders:
        place.project = await projects.create_project(ours.conn, place.what)
        first = orders.request(1, customers=1, products=5, run="like")
        await ours.import_orders(place.project, first)
        like, customer_like = "like-order-0000000", "like-customer-000000"
        stored.fill(dsn, place.project, place.stored, like=like, customer_like=customer_like)
    return place


_NAME_OWNER = b"""
UPDATE customers SET source_id = %(source_id)s
 WHERE project_id = %(project_id)s
   AND id = (SELECT customer_id FROM orders WHERE project_id = %(project_id)s AND source_id = 'stored-1')
"""


async def _round(ours: Worker, place: Place, sizes: Sizes) -> float:
    run = ids.new("run")[-8:]
    records = orders.request(sizes.orders, customers=place.customers, products=sizes.products, run=run)
    project = place.project or await projects.create_project(ours.conn, "Benchmark")
    if place.stored.customers == 1:  # the request's first customer is to be the owner
        await ours.conn.execute(_NAME_OWNER, {"project_id": project, "source_id": f"{run}-customer-000000"})
    return await ours.import_orders(project, records)


def table(measured: dict[str, list[float]], sizes: Sizes) -> list[tuple[str, str, str]]:
    """What is printed: what, the median, and the rate relative to that of the empty project."""
    places = _places(sizes)
    return [(place.what, _speed(measured[place.what], sizes.orders), _ratio(measured, place)) for place in places]


def _speed(seconds: list[float], number: int) -> str:
    middle = median(seconds)
    return f"{middle * 1000:.0f} ms, {number / middle:,.0f} orders/s"


def _ratio(measured: dict[str, list[float]], place: Place) -> str:
    if place.what == place.compared_with:
        return "1"
    pairs = zip(measured[place.compared_with], measured[place.what], strict=True)
    rates = [empty / filled for empty, filled in pairs]
    return f"{median(rates):.2f} ({min(rates):.2f} to {max(rates):.2f})"
