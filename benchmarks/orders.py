"""The orders that the benchmarks import: the shape is fixed, so that figures can be compared over time."""

from typing import Any

import msgspec

ITEMS = 5


def request(orders: int, *, customers: int, products: int, run: str, note: str = "first") -> list[bytes]:
    """Orders of five items with their customers, and products with `override`; JSON each."""
    return [msgspec.json.encode(_order(no, customers, products, run, note)) for no in range(orders)]


def _order(no: int, customers: int, products: int, run: str, note: str) -> dict[str, Any]:
    customer = no % customers
    return {
        "source_id": f"{run}-order-{no:07d}",
        "status": "PAID",
        "metadata": {
            "ordered_at": f"2024-{no % 12 + 1:02d}-{no % 28 + 1:02d}T10:00:00Z",
            "channel": "web",
            "note": note,
        },
        "customer": {
            "source_id": f"{run}-customer-{customer:06d}",
            "name": f"Customer {customer}",
            "email": f"customer-{customer}@shop.example",
            "address": {"city": "Leeds", "country": "United Kingdom", "postal_code": f"LS{customer % 30}"},
            "metadata": {"lang": "en", "newsletter": customer % 2 == 0},
        },
        "items": [_item((no * ITEMS + place) % products, run, note) for place in range(ITEMS)],
    }


def _item(product: int, run: str, note: str) -> dict[str, Any]:
    return {
        "source_id": f"{run}-product-{product:05d}",
        "related_object": "product",
        "quantity": product % 4 + 1,
        "price": 500 + product,
        "product": {
            "name": f"Product {product} ({note})",
            "price": 500 + product,
            "metadata": {"color": ["silver"], "vendor": "mall"},
            "override": True,
        },
    }
