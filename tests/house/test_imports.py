"""Which way imports point: design and order of the packages (docs/architecture.md), as code."""

import sys
from graphlib import TopologicalSorter

from tests.house.source import imports_of, modules, part_of

FOUNDATIONS = {"errors", "ids", "clock", "settings", "log", "secret_key"}
RESOURCES = {
    "custom_events",
    "customers",
    "products",
    "orders",
    "segments",
    "vouchers",
    "campaigns",
    "loyalty",
    "distributions",
    "exports",
    "metadata_schemas",
    "projects",
}
LAYERS: list[set[str]] = [
    FOUNDATIONS,
    {"db"},
    {"http"},
    {"bulk"},
    {"events"},
    {"webhooks"},
    RESOURCES,
    {"dashboard"},
    {"client"},
    {"app"},
    {"processes"},
    {"demo"},
    {"cli"},
    {"__main__"},
]
RANK = {part: rank for rank, parts in enumerate(LAYERS) for part in parts}
# Inside the line of resources each edge is stated: who builds on whom.
RESOURCE_EDGES = {
    ("campaigns", "vouchers"),
    ("custom_events", "customers"),
    ("custom_events", "metadata_schemas"),
    ("customers", "metadata_schemas"),
    ("orders", "customers"),
    ("orders", "metadata_schemas"),
    ("orders", "products"),
    ("orders", "segments"),
    ("products", "metadata_schemas"),
    ("projects", "orders"),
    ("projects", "segments"),
    ("segments", "customers"),
    ("vouchers", "customers"),
    ("vouchers", "metadata_schemas"),
}
# The client runs against servers of other versions too: it shares nothing with this one but its errors.
CLIENT_MAY_IMPORT = {"client", "errors"}

# Where a library may be known. A library that is missing here is new: decide where it belongs.
LIBRARIES: dict[str, set[str]] = {
    "_typeshed": {"client"},  # types alone
    "aiosql": {"db"},
    "click": {"cli", "demo"},
    "granian": {"processes"},
    "httpx": {"client", "webhooks", "cli"},
    "litestar": {"http", "app", "bulk", "events", "webhooks", "dashboard", *RESOURCES},
    "msgspec": set(RANK) - {"log"},
    "multipart": {"http"},
    "psycopg": set(RANK) - FOUNDATIONS - {"client", "dashboard", "demo"},
    "psycopg_pool": {"db"},
    "rich": {"client"},
    "structlog": {"log", "http", "bulk"},
    "yoyo": {"db"},
}


def edges() -> set[tuple[str, str]]:
    """All pairs of our modules where the first imports the second."""
    return {(name, to) for name, file in modules().items() for to in imports_of(file) if to.startswith("punchcard")}


def test_imports_point_upward_in_the_list_of_packages() -> None:
    wrong = [
        (name, to)
        for name, to in edges()
        if "punchcard" not in (part_of(name), part_of(to)) and RANK[part_of(name)] < RANK[part_of(to)]
    ]
    assert wrong == []


def test_every_part_has_its_place_in_the_list() -> None:
    assert {part_of(name) for name in modules()} - {"punchcard"} <= RANK.keys()


def test_resources_import_each_other_only_as_listed() -> None:
    found = {(part_of(name), part_of(to)) for name, to in edges() if {part_of(name), part_of(to)} <= RESOURCES}
    assert {edge for edge in found if edge[0] != edge[1]} <= RESOURCE_EDGES


def test_resources_form_no_circle() -> None:
    graph: dict[str, set[str]] = {}
    for name, to in RESOURCE_EDGES:
        graph.setdefault(name, set()).add(to)
    assert set(TopologicalSorter(graph).static_order()) <= RESOURCES


def test_modules_form_no_circle() -> None:
    graph: dict[str, set[str]] = {}
    for name, to in edges():
        if modules()[name].name != "__init__.py":  # a package's __init__ names its parts, and they each other
            graph.setdefault(name, set()).add(to)
    list(TopologicalSorter(graph).static_order())


def test_the_client_imports_only_errors() -> None:
    wrong = [(name, to) for name, to in edges() if part_of(name) == "client" and part_of(to) not in CLIENT_MAY_IMPORT]
    assert [edge for edge in wrong if part_of(edge[1]) != "punchcard"] == []


def test_libraries_are_known_only_where_they_belong() -> None:
    wrong = []
    for name, file in modules().items():
        for to in imports_of(file):
            library = to.split(".")[0]
            if library in sys.stdlib_module_names or library == "punchcard":
                continue
            if part_of(name) not in LIBRARIES.get(library, set()):
                wrong.append((name, library))
    assert wrong == []


def test_only_http_app_and_modules_with_routes_import_the_web_framework() -> None:
    users = [name for name, file in modules().items() if any(to.startswith("litestar") for to in imports_of(file))]
    for name in users:
        if part_of(name) not in {"http", "app"}:
            text = modules()[name].read_text()
            assert "\nROUTES" in text, f"{name} imports litestar and has no routes"
