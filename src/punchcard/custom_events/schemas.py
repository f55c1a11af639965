"""Event schemas: which custom events a project has, and what the metadata of each may be.

Their definitions are written, merged and checked as those of metadata schemas are (`metadata_schemas.definitions`).
Keys that are not defined may be there too; nested objects are not defined.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct
from psycopg.types.json import Jsonb

from punchcard import ids
from punchcard.db import statements
from punchcard.db.database import Conn
from punchcard.errors import ApiError, InvalidPayload
from punchcard.http import shapes
from punchcard.metadata_schemas import definitions, metadata_schemas
from punchcard.metadata_schemas.definitions import Definition

SQL = statements.beside(__file__)

NAME_CHARACTERS_MAX = 300
# what the API adds to an event schema
_SHOWN = frozenset({"id", "created_at", "updated_at", "object"})

# ---- types -------------------------------------------------------------------------------------


class Properties(Struct):
    """What an event's metadata may be, by key."""

    properties: dict[str, Definition]


class EventSchema(Struct, kw_only=True, omit_defaults=True):
    """A custom event as it is defined."""

    id: str
    name: str
    schema: Properties
    created_at: datetime
    updated_at: datetime | None = None
    object: str


class EventSchemaList(Struct):
    """All event schemas of a project, by name."""

    object: str
    data_ref: str
    data: list[EventSchema]
    total: int


class Given(Struct, frozen=True):
    """An event schema as it is given to be merged into what is defined; `path` is where it stands."""

    name: str
    properties: dict[str, Definition]
    path: str


class Found(Struct, frozen=True):
    """What an event is held to."""

    id: str
    properties: dict[str, Definition]


class EventUndefined(ApiError):
    """The project has no custom event of that name."""

    status = 404
    key = "not_found"
    message = "Resource not found"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"Cannot find custom event with name {name}", resource_id=name, resource_type="custom_event_schema"
        )


# ---- reading a file ----------------------------------------------------------------------------


def read_file(body: bytes) -> list[Given]:
    """The event schemas of a JSON file: one, an array of them, or what `show` prints. Raises `InvalidPayload`."""
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidPayload(shapes.complaint(error)) from None
    if isinstance(document, dict) and isinstance(document.get("data"), list) and "name" not in document:
        given = [_read(one, f".data[{no}]") for no, one in enumerate(document["data"])]
    elif isinstance(document, list):
        given = [_read(one, f".[{no}]") for no, one in enumerate(document)]
    else:
        given = [_read(document, "")]
    seen: set[str] = set()
    for one in given:
        if one.name in seen:
            raise InvalidPayload(f"Property {one.path}.name names {one.name} a second time")
        seen.add(one.name)
    return given


def _read(document: Any, path: str) -> Given:
    if not isinstance(document, dict):
        raise InvalidPayload(f"Property {path} must be an object" if path else "Payload must be an object")
    shapes.refuse_nul(document, path)
    for field in document:
        if field not in {"name", "schema"} | _SHOWN:
            raise InvalidPayload(f"Property {path}.{field} is not known: name and schema are")
    name, schema = document.get("name"), document.get("schema")
    if not isinstance(name, str) or not 0 < len(name) <= NAME_CHARACTERS_MAX:
        raise InvalidPayload(f"Property {path}.name must be a name of 1 to {NAME_CHARACTERS_MAX} characters")
    if not isinstance(schema, dict):
        raise InvalidPayload(f"Property {path}.schema must be an object")
    properties = definitions.read_properties(schema.get("properties"), f"{path}.schema.properties")
    for key, definition in properties.items():
        if definition.object_type is not None:
            raise InvalidPayload(f"Property {path}.schema.properties.{key}.objectType cannot be given for an event")
    return Given(name, properties, path)


# ---- operations --------------------------------------------------------------------------------

_properties = msgspec.json.Decoder(dict[str, Definition])


async def named(conn: Conn, project: str, name: str) -> Found:
    """The custom event of that name. Raises `EventUndefined`."""
    parameters = {"project_id": project, "name": name}
    row = await (await conn.execute(SQL.custom_event_schema_named, parameters)).fetchone()
    if row is None:
        raise EventUndefined(name)
    return Found(row.id, _properties.decode(row.properties))


async def list_schemas(conn: Conn, project: str) -> EventSchemaList:
    """All event schemas of the project."""
    rows = await (await conn.execute(SQL.custom_event_schemas_get_all, {"project_id": project})).fetchall()
    data = [
        EventSchema(
            id=row.id, name=row.name, schema=Properties(_properties.decode(row.properties)),
            created_at=row.created_at, updated_at=row.updated_at, object="custom-event-schema",
        )
        for row in rows
    ]  # fmt: skip
    return EventSchemaList("list", "data", data, total=len(data))


async def apply(conn: Conn, project: str, given: Sequence[Given]) -> dict[str, list[str]]:
    """Merge `given` into the project's event schemas; `conn` is in a transaction.

    Returns the names of those that were `created`, `updated` and left `unchanged`. Raises `NotFound` for an unknown
    project, `InvalidPayload`.
    """
    await metadata_schemas.lock_definitions(conn, project)
    before = {one.name: one.schema.properties for one in (await list_schemas(conn, project)).data}
    after = {
        one.name: definitions.merged_properties(
            before.get(one.name, {}), one.properties, path=f"{one.path}.schema.properties", name=one.name
        )
        for one in given
    }
    changed = [name for name in after if name not in before or after[name] != before[name]]
    if changed:
        rows: Mapping[str, list[Any]] = {
            "ids": ids.many("ms", len(changed)),
            "names": changed,
            "properties": [Jsonb(after[name]) for name in changed],
        }
        await conn.execute(SQL.custom_event_schemas_write, {"project_id": project, **rows})
    return {
        "created": [name for name in changed if name not in before],
        "updated": [name for name in changed if name in before],
        "unchanged": [name for name in after if name not in changed],
    }


async def remove(conn: Conn, project: str, name: str) -> None:
    """Have the project no longer take a custom event; those that were tracked stay. Raises `EventUndefined`."""
    parameters = {"project_id": project, "name": name}
    if await (await conn.execute(SQL.custom_event_schema_delete, parameters)).fetchone() is None:
        raise EventUndefined(name)
