"""SQL is text: named statements in a `.sql` file beside the module that uses them.

    SQL = statements.beside(__file__)              # reads customers.sql beside customers.py
    await conn.execute(SQL.customer_get, {...})    # `-- name: customer_get` in that file

A statement's parameters are written `:name` and passed by name. Arrays state their type (`:ids::text[]`)
and travel in binary: as text, every quote of 2,000 JSON documents would be escaped one by one in Python.
"""

import re
from pathlib import Path

import aiosql
from psycopg import _queries

# How long a statement may be of which the driver remembers what it has found out. Ours are few, and to look through
# one of 7,000 characters takes it 0.2 ms. It has no public setting; should the name go, only the time is lost.
_queries.MAX_CACHED_STATEMENT_LENGTH = 16 * 1024

# outside of quoted text: comments, and the space between words
_SPARE = re.compile(r"('(?:[^']|'')*')|--[^\n]*|\s+")
_TYPED_ARRAY = re.compile(r"%\((\w+)\)s(?=::\w+\[\])")


class Statements:
    """The statements of one file, by name, as the driver takes them."""

    def __init__(self, file: Path) -> None:
        queries = aiosql.from_path(file, "apsycopg", mandatory_parameters=False)
        names = [name for name in queries.available_queries if not name.endswith("_cursor")]
        # bytes, because the driver's types accept text only where it is a literal
        self._by_name: dict[str, bytes] = {
            name: _TYPED_ARRAY.sub(r"%(\1)b", _short(getattr(queries, name).sql)).encode() for name in names
        }

    def __getattr__(self, name: str) -> bytes:
        try:
            return self._by_name[name]
        except KeyError:
            raise AttributeError(f"No statement is named {name}") from None


def _short(statement: str) -> str:
    """A statement on one line, without comments: what the server does not need is neither sent nor hashed."""
    return _SPARE.sub(lambda spare: spare[1] or " ", statement).strip()


def beside(module_file: str) -> Statements:
    """The statements in the `.sql` file with the module's name."""
    return Statements(Path(module_file).with_suffix(".sql"))
