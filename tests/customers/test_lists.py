"""Walking the customers of a large import."""

import itertools
from collections.abc import Iterator
from typing import Any

from tests.deployment import Project
from tests.orders.stored import rows

CUSTOMERS = 2000


def walked(project: Project, key: str, order: str) -> Iterator[Any]:
    """All customers by the date cursor."""
    after: dict[str, Any] = {}
    while True:
        page = project.get("/v1/customers", limit=100, order=order, **after)
        yield from page["customers"]
        if not page["has_more"]:
            return
        last = page["customers"][-1]
        after = {"starting_after": last.get(key) or last["created_at"]}


def test_walking_shows_each_customer_once(project: Project) -> None:
    project.imported(*({"customer": {"source_id": f"c{n:04}"}} for n in range(CUSTOMERS)))
    names = [f"c{n:04}" for n in range(CUSTOMERS)]
    for order, expected in (("created_at", names), ("-created_at", names[::-1])):
        assert [row["source_id"] for row in walked(project, "created_at", order)] == expected
        pages = (project.get("/v1/customers", limit=100, order=order, page=page) for page in itertools.count(1))
        paged = itertools.chain.from_iterable(
            page["customers"] for page in itertools.takewhile(lambda page: page["customers"], pages)
        )
        assert [row["source_id"] for row in paged] == expected
    newest = project.get("/v1/customers", limit=100)["customers"]
    assert [row["source_id"] for row in newest] == names[:-101:-1]


def test_walking_by_the_last_update_shows_each_customer_once(project: Project) -> None:
    project.imported(*({"customer": {"source_id": f"c{n:03}"}} for n in range(300)))
    project.imported(*({"customer": {"source_id": f"c{n:03}", "name": "N"}} for n in range(0, 300, 2)))
    changed, others = [f"c{n:03}" for n in range(0, 300, 2)], [f"c{n:03}" for n in range(1, 300, 2)]
    oldest = [row["source_id"] for row in walked(project, "updated_at", "updated_at")]
    assert (oldest[:150], sorted(oldest[150:])) == (others, changed)
    assert [row["source_id"] for row in walked(project, "updated_at", "-updated_at")] == oldest[::-1]


def test_rows_of_an_import_are_a_microsecond_apart(project: Project) -> None:
    item = {"product": {"override": True}, "sku": {"override": True}}
    for half in range(2):
        project.imported(*(
            {"customer": {"source_id": f"c{half}-{n}"}, "referrer": {"source_id": f"r{half}-{n}"},
             "items": [{**item, "source_id": f"s{half}-{n}", "related_object": "sku",
                        "product": {"override": True, "source_id": f"p{half}-{n}"}}]}
            for n in range(200)
        ))  # fmt: skip
    for table, count in (("orders", 400), ("customers", 800), ("products", 400), ("skus", 400)):
        found = rows(
            project,
            f"SELECT created_at, source_id FROM {table} WHERE project_id = %(project)s ORDER BY created_at",
        )
        moments = [row["created_at"] for row in found]
        assert len(set(moments)) == len(moments) == count
        apart = [(later - earlier).microseconds for earlier, later in itertools.pairwise(moments)]
        assert apart.count(1) >= count - 10  # but for where one portion ends and the next begins
        if table != "orders":
            order = [row["source_id"][1:] for row in found]
            assert sorted(order, key=lambda name: tuple(map(int, name.split("-")))) == order
