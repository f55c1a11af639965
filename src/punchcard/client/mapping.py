"""Mappings: how the columns of a CSV file become orders. A TOML file, decoded and checked before anything is read.

The tables under `[order]` and `[item]` are those of the API's order; a text is the name of a column, a number or
truth value is itself, and a table `{ column = …, … }` says how a column is converted. docs/how-to/import-csv.md is
the reference of every key; `mapping_files` reads and checks the files.
"""

from typing import Literal

import msgspec
from msgspec import Struct

from punchcard.errors import PunchcardError


class MappingInvalid(PunchcardError):
    """A mapping that cannot work; the text says where in it."""


class Column(Struct, forbid_unknown_fields=True):
    """A value made from one column, or from several joined by a space; or a constant text."""

    column: str | list[str] | None = None
    constant: str | int | bool | None = None
    values: dict[str, str | int | bool] | None = None
    otherwise: str | int | bool | None = None
    date: str | list[str] | None = None
    zone: str | None = None
    type: Literal["text", "integer", "number", "amount"] | None = None
    remove_prefix: str = ""
    remove_suffix: str = ""
    required: bool = False
    optional: bool = False


Value = str | int | bool | Column
Metadata = dict[str, Value]


class Address(Struct, forbid_unknown_fields=True):
    """A postal address."""

    city: Value | None = None
    state: Value | None = None
    line_1: Value | None = None
    line_2: Value | None = None
    country: Value | None = None
    postal_code: Value | None = None


class Person(Struct, forbid_unknown_fields=True):
    """A customer or referrer."""

    id: Value | None = None
    source_id: Value | None = None
    name: Value | None = None
    description: Value | None = None
    email: Value | None = None
    phone: Value | None = None
    birthdate: Value | None = None
    birthday: Value | None = None
    address: Address | None = None
    metadata: Metadata | None = None


class Product(Struct, forbid_unknown_fields=True):
    """The product of an item. `once`: sent only with the run's first item of its source id, see `Once`."""

    id: Value | None = None
    source_id: Value | None = None
    name: Value | None = None
    price: Value | None = None
    override: Value | None = None
    metadata: Metadata | None = None
    once: bool = False


class Sku(Struct, forbid_unknown_fields=True):
    """The SKU of an item. `once` as for products."""

    id: Value | None = None
    source_id: Value | None = None
    sku: Value | None = None
    price: Value | None = None
    override: Value | None = None
    metadata: Metadata | None = None
    once: bool = False


class Order(Struct, forbid_unknown_fields=True):
    """What is one for the whole order."""

    id: Value | None = None
    source_id: Value | None = None
    status: Value | None = None
    amount: Value | None = None
    initial_amount: Value | None = None
    discount_amount: Value | None = None
    referrer_id: Value | None = None
    customer: Person | None = None
    referrer: Person | None = None
    metadata: Metadata | None = None


class Item(Struct, forbid_unknown_fields=True):
    """What is one for each line."""

    source_id: Value | None = None
    related_object: Value | None = None
    product_id: Value | None = None
    sku_id: Value | None = None
    quantity: Value | None = None
    discount_quantity: Value | None = None
    initial_quantity: Value | None = None
    price: Value | None = None
    amount: Value | None = None
    initial_amount: Value | None = None
    discount_amount: Value | None = None
    product: Product | None = None
    sku: Sku | None = None
    metadata: Metadata | None = None


class Csv(Struct, forbid_unknown_fields=True):
    """How the file is written."""

    delimiter: str = ","
    quote: str = '"'
    encoding: str = "utf-8"
    quoted_line_breaks: bool = True
    strip_apostrophes: bool = False


class Numbers(Struct, forbid_unknown_fields=True):
    """How numbers are written. `digits` of the currency behind the decimal sign; 0 if the file has smallest units."""

    digits: int | None = None
    decimal: Literal[".", ","] = "."
    thousands: Literal["", ",", ".", " ", "'"] = ""
    signs: list[str] = []
    rounding: Literal["refuse", "half-up"] = "refuse"


class Lines(Struct, forbid_unknown_fields=True):
    """How lines make orders."""

    order: str | list[str] | None = None
    empty_order: Literal["refuse", "continue"] = "refuse"
    same: list[str] = []
    interleaved: int = 1
    bad_line: Literal["refuse-order", "leave-out"] = "refuse-order"
    negative_quantity: Literal["refuse", "skip"] = "refuse"


class Condition(Struct, forbid_unknown_fields=True):
    """What a column must be; all that is said must hold. Numbers are read as `[numbers]` says."""

    is_: str | list[str] | None = msgspec.field(default=None, name="is")
    is_not: str | list[str] | None = None
    begins_with: str | None = None
    not_begins_with: str | None = None
    empty: bool | None = None
    below: float | None = None
    at_most: float | None = None
    equals: float | None = None
    at_least: float | None = None
    above: float | None = None


Conditions = dict[str, Condition]


class Skip(Struct, forbid_unknown_fields=True):
    """Lines, or with `whole_order` orders of which every line is so, that are left out and counted."""

    reason: str
    when: Conditions
    whole_order: bool = False


class Cancellations(Struct, forbid_unknown_fields=True):
    """Orders that were canceled or returned, told by their first line."""

    when: Conditions
    do: Literal["cancel", "skip"] = "cancel"
    negative_quantities: bool = False


class Split(Struct, forbid_unknown_fields=True):
    """Makes several orders of one that is too long or goes on later; names their metadata keys."""

    part: str = "part"
    of: str = "part_of"


class Mapping(Struct, forbid_unknown_fields=True):
    """A whole mapping file. `source` says where its list of columns comes from; presets must."""

    order: Order
    source: str = ""
    csv: Csv = msgspec.field(default_factory=Csv)
    numbers: Numbers = msgspec.field(default_factory=Numbers)
    lines: Lines = msgspec.field(default_factory=Lines)
    item: Item | None = None
    skip: list[Skip] = []
    cancellations: Cancellations | None = None
    split: Split | None = None
