"""Mapping files: a shop's own, and the presets that are shipped. Everything in them is checked before it is used."""

import tomllib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from punchcard.client import csv_rows
from punchcard.client.fields import columns_of
from punchcard.client.mapping import Mapping, MappingInvalid

PRESETS = Path(__file__).with_name("presets")


def chosen(path: Path | None, preset_name: str | None) -> Mapping | None:
    """The mapping that the command line names, if it names one."""
    if path and preset_name:
        raise MappingInvalid("Give --mapping or --preset, not both")
    if path:
        return load(path)
    return preset(preset_name) if preset_name else None


def load(path: Path) -> Mapping:
    """The mapping in a file. Raises `MappingInvalid` naming the file and the place in it."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise MappingInvalid(f"The mapping {path} cannot be read: {error.strerror}") from None
    return parse(text, str(path))


def preset(name: str) -> Mapping:
    """A shipped mapping by its name."""
    return parse(preset_text(name).encode(), f"preset {name}")


def preset_text(name: str) -> str:
    """A shipped mapping as it is written, to start one's own from."""
    if name not in presets():
        raise MappingInvalid(f"There is no preset {name!r}; there are {', '.join(presets())}")
    return (PRESETS / f"{name}.toml").read_text()


def presets() -> list[str]:
    """The names of the shipped mappings."""
    return sorted(file.stem for file in PRESETS.glob("*.toml"))


def parse(text: bytes, name: str) -> Mapping:
    """A mapping from TOML. Raises `MappingInvalid`."""
    try:
        mapping = msgspec.convert(tomllib.loads(text.decode("utf-8-sig")), Mapping)
        if trouble := next(_troubles(mapping), None):
            raise MappingInvalid(trouble)
        csv_rows.check(mapping.csv)
        columns_of(mapping)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise MappingInvalid(f"{name} is not valid TOML: {error}") from None
    except msgspec.ValidationError as error:
        raise MappingInvalid(f"{name}: {_explained(error)}") from None
    except MappingInvalid as error:
        raise MappingInvalid(f"{name}: {error}") from None
    return mapping


def _explained(error: msgspec.ValidationError) -> str:
    """`order.customer: Object contains unknown field …` of msgspec's text, which has the path behind it."""
    text, _, path = str(error).partition(" - at `$")
    path = path.rstrip("`").removeprefix(".").replace("[...]", ".*")
    return f"{path}: {text}" if path else text


def _troubles(mapping: Mapping) -> Iterator[str]:
    """What a type cannot say."""
    if mapping.lines.interleaved < 1:
        yield "lines.interleaved: at least one order is open at a time"
    if mapping.lines.order and mapping.item is None:
        yield "lines.order groups the lines that are items of one order: the table [item] is missing"
    if mapping.lines.empty_order == "continue" and not mapping.lines.order:
        yield "lines.empty_order: lines.order, the column of the order's number, is missing"
    if mapping.numbers.decimal == mapping.numbers.thousands:
        yield "numbers.thousands: is the decimal sign too"
    if mapping.numbers.digits is not None and not 0 <= mapping.numbers.digits <= 4:
        yield "numbers.digits: a currency has 0 to 4 digits behind the decimal sign"
    yield from _split_troubles(mapping)


def _split_troubles(mapping: Mapping) -> Iterator[str]:
    order = mapping.order
    if mapping.split and order.source_id is None:
        yield "split: the parts are told apart by order.source_id, which is missing"
    if mapping.split and order.id is not None:
        yield "split: the parts would all have the same order.id"
    if mapping.split and {order.amount, order.initial_amount, order.discount_amount} != {None}:
        yield "split: the amounts of [order] would be counted once a part"
