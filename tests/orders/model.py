"""The rules of the import in their simplest form: dictionaries, one order after another, everything recomputed.

Written from the documented rules, sharing no code with the program. Ids are the server's to choose: rows
refer to each other as objects, and learn their ids from the server after each import.
"""

import copy
import re
from typing import Any

MAX = 2**53 - 1
Row = dict[str, Any]

# What a date in the metadata means, in a project that lives in UTC; none where it means nothing.
ORDERED_AT: dict[Any, str | None] = {
    "2011-03-01": "2011-03-01T00:00:00Z",
    "2011-03-01T10:00:00": "2011-03-01T10:00:00Z",
    "2011-03-01T10:00:00Z": "2011-03-01T10:00:00Z",
    "2011-03-01T10:00:00.250+02:00": "2011-03-01T08:00:00.250000Z",
    "2011-03-01 23:30-05": "2011-03-02T04:30:00Z",
    "2030-12-31T23:59:59Z": "2030-12-31T23:59:59Z",
    "2011-02-29": None,
    "yesterday": None,
    "": None,
    20110301: None,
    True: None,
}


class Refused(Exception):
    """The order fails and leaves no trace."""


class Model:
    """What a project holds. `orders` and `customers` are in the order in which they were made."""

    def __init__(self) -> None:
        self.rows: dict[str, list[Row]] = {"orders": [], "customers": [], "products": [], "skus": []}

    def apply(self, orders: list[Row]) -> dict[str, Any]:
        """Import `orders`; the counts, and the positions of those that failed."""
        result: dict[str, Any] = {"created": 0, "updated": 0, "unchanged": 0, "invalid_ordered_at": 0, "failed": []}
        for no, given in enumerate(orders):
            before = copy.deepcopy(self.rows)
            try:
                result[self._order(given)] += 1
            except Refused:
                self.rows = before
                result["failed"].append(no)
                continue
            value = (given.get("metadata") or {}).get("ordered_at")
            result["invalid_ordered_at"] += value is not None and ORDERED_AT[value] is None
        return result

    def write(self, given: Row, *, stored: Row | None) -> bool:
        """Create an order, or update the one that is `stored`; whether it went in."""
        before = copy.deepcopy(self.rows)
        try:
            if stored is None:
                self._order(given)
            else:
                self._order({**given, "id": stored["id"]}, clears=True)
        except Refused:
            self.rows = before
            return False
        return True

    def find(self, kind: str, **keys: Any) -> Row | None:
        """The row with that id or source id."""
        [(key, value)] = keys.items()
        return next((row for row in self.rows[kind] if value and row[key] == value), None)

    def _known(self, kind: str, row_id: str) -> Row:
        row = self.find(kind, id=row_id)
        if row is None:
            raise Refused
        return row

    # ---- orders ----

    def _order(self, given: Row, *, clears: bool = False) -> str:
        by_id, by_source = (
            self.find("orders", id=given.get("id")),
            self.find("orders", source_id=given.get("source_id")),
        )
        if given.get("id"):
            if by_source is not None and by_source is not by_id:
                raise Refused
            if by_id is None and not re.fullmatch("ord_[A-Za-z0-9]+", given["id"]):
                raise Refused
        order = by_id or by_source
        before = None if order is None else copy.deepcopy(shown(order))
        if order is None:
            order = {"id": given.get("id") or None, "source_id": None, "status": "CREATED", "metadata": {}, "items": []}
            order |= {"customer": None, "referrer": None, "ordered_at": None, "sent": {}}
            self.rows["orders"].append(order)
        self._fields(order, given)
        if clears and given.get("metadata"):
            for key in [key for key, value in given["metadata"].items() if value is None]:
                del order["metadata"][key]
        self._amounts(order, given)
        for person in (order["customer"],):
            if person is not None and self.revenue(person) > MAX:
                raise Refused
        if before is None:
            return "created"
        return "unchanged" if before == shown(order) else "updated"

    def _fields(self, order: Row, given: Row) -> None:
        order["source_id"] = given.get("source_id") or order["source_id"]
        order["status"] = given.get("status") or order["status"]
        for role in ("customer", "referrer"):
            if any((given.get(role) or {}).values()):
                order[role] = self._person(given[role], order[role])
            elif role == "referrer" and given.get("referrer_id"):
                order[role] = self._known("customers", given["referrer_id"])
        metadata = given.get("metadata") or {}
        order["metadata"] |= metadata
        if "ordered_at" in metadata:
            order["ordered_at"] = ORDERED_AT.get(metadata["ordered_at"])

    def _amounts(self, order: Row, given: Row) -> None:
        sent = order["sent"]
        for field in ("initial_amount", "discount_amount"):
            if given.get(field) is not None:
                sent[field] = given[field]
        if given.get("items") is not None:
            summed = order["items"] != [] and all(item.get("amount") is not None for item in order["items"])
            order["items"] = [self._item(item) for item in given["items"]]
            # what items added up to goes with them
            sent["amount"] = None if summed else order.get("amount") or None
        if given.get("amount") is not None:
            sent["amount"] = given["amount"]
        amounts = [item.get("amount") for item in order["items"]]
        known = sum(amount for amount in amounts if amount is not None)
        complete = amounts != [] and None not in amounts
        # a sum that is not used cannot be too large
        order["amount"] = bounded(known) if complete or sent.get("amount") is None else sent["amount"]
        discounts = [item["discount_amount"] for item in order["items"] if item.get("discount_amount") is not None]
        order["items_discount_amount"] = bounded(sum(discounts)) if discounts else None
        discount = bounded((sent.get("discount_amount") or 0) + sum(discounts))
        order["total_amount"] = max(0, order["amount"] - discount)

    def revenue(self, customer: Row) -> int:
        """What the customer's paid and fulfilled orders add up to."""
        return sum(order["total_amount"] for order in self.paid(customer))

    def paid(self, customer: Row) -> list[Row]:
        """The customer's orders that count."""
        return [
            order
            for order in self.rows["orders"]
            if order["customer"] is customer and order["status"] in {"PAID", "FULFILLED"}
        ]

    # ---- customers ----

    def _person(self, given: Row, present: Row | None) -> Row:
        attributes = {name: value for name, value in given.items() if name not in {"id", "source_id", "metadata"}}
        attributes = {name: value for name, value in attributes.items() if value is not None}
        metadata = given.get("metadata") or {}
        if given.get("id"):
            person: Row | None = self._known("customers", given["id"])
        elif given.get("source_id"):
            person = self.find("customers", source_id=given["source_id"])
        else:
            # somebody without any id is new, unless the order already has exactly that person
            same = present is not None and present["source_id"] is None
            same = same and self._with(present, attributes, metadata) == present
            person = present if same else None
        if person is None:
            person = {"id": None, "source_id": given.get("source_id") or None, "metadata": {}}
            self.rows["customers"].append(person)
        person.update(self._with(person, attributes, metadata))
        return person

    @staticmethod
    def _with(person: Row | None, attributes: Row, metadata: Row) -> Row:
        assert person is not None
        birthdate = attributes.get("birthdate") or attributes.get("birthday")
        return {
            **person,
            **attributes,
            **({"birthdate": birthdate} if birthdate else {}),
            "metadata": {**person["metadata"], **metadata},
        }

    # ---- items ----

    def _item(self, given: Row) -> Row:
        sent_sku, sent_product = given.get("sku") or {}, given.get("product") or {}
        about = given.get("related_object")
        sku_id = given.get("sku_id") or sent_sku.get("id")
        product_id = given.get("product_id") or sent_product.get("id")
        about_sku = about == "sku" or (about is None and given.get("sku") is not None)
        about_product = about == "product" or (about is None and given.get("sku") is None and not given.get("sku_id"))
        sku_source = sent_sku.get("source_id") or (given.get("source_id") if about_sku else None)
        product_source = sent_product.get("source_id") or (given.get("source_id") if about_product else None)
        sku = self._known("skus", sku_id) if sku_id else self.find("skus", source_id=sku_source)
        product = self._known("products", product_id) if product_id else self.find("products", source_id=product_source)
        if product is None and not product_source and sku is not None:
            product = sku["product"]
        if sent_product.get("override") and (product or product_source):
            product = self._override("products", product, sent_product, {"source_id": product_source})
        if sent_sku.get("override") and (sku or sku_source):
            if sku is None and product is None:
                raise Refused
            sku = self._override("skus", sku, sent_sku, {"source_id": sku_source, "product": product})
        return self._priced(given, sku, product)

    def _override(self, kind: str, row: Row | None, sent: Row, keys: Row) -> Row:
        if row is None:
            row = {"id": None, "name": None, "price": None, "metadata": {}, **keys}
            self.rows[kind].append(row)
        name = sent.get("name" if kind == "products" else "sku")
        for field, value in (("name", name), ("price", sent.get("price")), ("metadata", sent.get("metadata"))):
            if value is not None:
                row[field] = value
        return row

    def _priced(self, given: Row, sku: Row | None, product: Row | None) -> Row:
        sent_sku, sent_product = given.get("sku") or {}, given.get("product") or {}
        price, quantity, amount = given.get("price"), given.get("quantity"), given.get("amount")
        if price is None and amount is None:
            prices = [sent_sku.get("price"), sent_product.get("price")]
            prices += [row["price"] for row in (sku, product) if row]
            price = next((price for price in prices if price is not None), None)
        if price is not None:
            quantity = 1 if quantity is None else quantity
            amount = bounded(price * quantity)
        discount = given.get("discount_amount")
        parent = product or (sku["product"] if sku else None)
        item = {
            "source_id": given.get("source_id") or None,
            "related_object": given.get("related_object"),
            "product_id": parent["source_id"] if parent else None,
            "sku_id": sku["source_id"] if sku else None,
            "quantity": quantity,
            "initial_quantity": given.get("initial_quantity") or quantity,
            "discount_quantity": given.get("discount_quantity"),
            "amount": amount,
            "initial_amount": amount if given.get("initial_amount") is None else given["initial_amount"],
            "discount_amount": discount,
            "price": price,
            "subtotal_amount": None if amount is None else max(0, amount - (discount or 0)),
            "product": echo(given.get("product"), product, "name"),
            "sku": echo(given.get("sku"), sku, "sku"),
            "metadata": given.get("metadata"),
        }
        return {"object": "order_item"} | {name: value for name, value in item.items() if value is not None}


def bounded(value: int) -> int:
    """Sums and products are held to what every client can read."""
    if value > MAX:
        raise Refused
    return value


def echo(sent: Row | None, row: Row | None, name: str) -> Row | None:
    """What is known of an item's product or SKU: the stored record, and over it what was sent."""
    if sent is None and row is None:
        return None
    sent = sent or {}
    known = {
        "source_id": row["source_id"] if row else sent.get("source_id") or None,
        name: row["name"] if row and sent.get(name) is None else sent.get(name),
        "price": row["price"] if row and sent.get("price") is None else sent.get("price"),
        "metadata": row["metadata"] if row and sent.get("metadata") is None else sent.get("metadata"),
    }
    return {key: copy.deepcopy(value) for key, value in known.items() if value not in (None, {})}


def shown(order: Row) -> Row:
    """An order as the API shows it, without its dates; people are the objects they are."""
    sent = order["sent"]
    discount, items_discount = sent.get("discount_amount"), order["items_discount_amount"]
    return {
        "source_id": order["source_id"],
        "status": order["status"],
        "amount": order["amount"],
        "initial_amount": sent.get("initial_amount", order["amount"]),
        "total_amount": order["total_amount"],
        "items": order["items"],
        "metadata": order["metadata"],
        "customer": order["customer"] and id(order["customer"]),
        "referrer": order["referrer"] and id(order["referrer"]),
        "ordered_at": order["ordered_at"],
        "discount_amount": discount,
        "items_discount_amount": items_discount,
        "total_discount_amount": None
        if discount is None and items_discount is None
        else (discount or 0) + (items_discount or 0),
    }
