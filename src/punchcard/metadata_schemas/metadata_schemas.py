"""Metadata schemas: types, reads, what defines them, routes.

Definitions are in `definitions`, what they make of a record in `validation`.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from litestar import Request, get
from msgspec import Struct
from psycopg.types.json import Jsonb

from punchcard import ids
from punchcard.db import statements
from punchcard.db.database import Conn, Database
from punchcard.errors import NotFound
from punchcard.metadata_schemas import definitions
from punchcard.metadata_schemas.definitions import Definition, Given, Schema
from punchcard.metadata_schemas.validation import Schemas

SQL = statements.beside(__file__)

# ---- types -------------------------------------------------------------------------------------


class MetadataSchema(Struct):
    """The definitions of one resource's metadata, or of a nested object's, as the API shows them."""

    id: str
    related_object: str
    properties: dict[str, Definition]
    allow_defined_only: bool
    created_at: datetime
    updated_at: datetime | None
    object: str = "metadata_schema"


class MetadataSchemaList(Struct):
    """All metadata schemas of a project, by the name of their object."""

    object: str
    data_ref: str
    schemas: list[MetadataSchema]
    total: int


class Applied(Struct):
    """What became of the schemas that were given, by the names of their objects."""

    created: list[str]
    updated: list[str]
    unchanged: list[str]


# ---- operations --------------------------------------------------------------------------------


async def load(conn: Conn, project: str) -> Schemas:
    """The project's schemas, ready to check records."""
    return Schemas((await _stored(conn, project)).values())


async def list_schemas(conn: Conn, project: str) -> MetadataSchemaList:
    """All schemas of the project."""
    rows = await (await conn.execute(SQL.metadata_schemas_get_all, {"project_id": project})).fetchall()
    return MetadataSchemaList("list", "schemas", [MetadataSchema(**row._asdict()) for row in rows], total=len(rows))


async def get_schema(conn: Conn, project: str, related_object: str) -> MetadataSchema:
    """The schema of one resource or nested object. Raises `NotFound`."""
    parameters = {"project_id": project, "related_object": related_object}
    row = await (await conn.execute(SQL.metadata_schema_get, parameters)).fetchone()
    if row is None:
        raise NotFound("metadata schema", related_object)
    return MetadataSchema(**row._asdict())


async def apply(conn: Conn, project: str, given: Sequence[Given]) -> Applied:
    """Merge `given` into the project's definitions; `conn` is in a transaction.

    A definition that is given replaces its namesake as a whole, what is not given stays. Records that are
    stored are not looked at, portions of imports that begin after the commit are. Raises `NotFound` for an
    unknown project, `InvalidPayload`.
    """
    await lock_definitions(conn, project)
    before = await _stored(conn, project)
    after = definitions.merged(before, given)
    names = [schema.related_object for schema in given]
    changed = [name for name in names if after[name] != before.get(name)]
    await _write(conn, project, [after[name] for name in changed])
    return Applied(
        created=[name for name in changed if name not in before],
        updated=[name for name in changed if name in before],
        unchanged=[name for name in names if name not in changed],
    )


async def lock_definitions(conn: Conn, project: str) -> None:
    """Be the only one who defines a project's metadata, until the transaction ends. Raises `NotFound`."""
    if await (await conn.execute(SQL.metadata_schemas_lock, {"project_id": project})).fetchone() is None:
        raise NotFound("project", project)


async def _stored(conn: Conn, project: str) -> dict[str, Schema]:
    rows = await (await conn.execute(SQL.metadata_schemas_get_all, {"project_id": project})).fetchall()
    return {row.related_object: _schema(row) for row in rows}


def _schema(row: Any) -> Schema:
    return Schema(row.related_object, _properties.decode(row.properties), row.allow_defined_only)


_properties = msgspec.json.Decoder(dict[str, Definition])


async def _write(conn: Conn, project: str, schemas: Sequence[Schema]) -> None:
    rows: Mapping[str, list[Any]] = {
        "ids": ids.many("ms", len(schemas)),
        "related_objects": [schema.related_object for schema in schemas],
        "properties": [Jsonb(schema.properties) for schema in schemas],
        "allow_defined_only": [schema.allow_defined_only for schema in schemas],
    }
    if schemas:
        await conn.execute(SQL.metadata_schemas_write, {"project_id": project, **rows})


# ---- handlers ----------------------------------------------------------------------------------


@get("/v1/metadata-schemas", operation_id="list-metadata-schemas", tags=["Metadata Schemas"])
async def get_metadata_schemas(request: Request, project: str) -> MetadataSchemaList:  # type: ignore[type-arg]
    """List metadata schemas.

    All schemas of the project, by the names of their resources. Removed definitions are included, as `deleted`.
    """
    database: Database = request.app.state.database
    async with database.connection() as conn:
        return await list_schemas(conn, project)


@get("/v1/metadata-schemas/{resource:str}", operation_id="get-metadata-schema", tags=["Metadata Schemas"])
async def get_metadata_schema(request: Request, project: str, resource: str) -> MetadataSchema:  # type: ignore[type-arg]
    """Get a metadata schema.

    By the name of its resource, such as `order` or `customer`, or of a nested object.
    """
    database: Database = request.app.state.database
    async with database.connection() as conn:
        return await get_schema(conn, project, resource)


ROUTES = [get_metadata_schemas, get_metadata_schema]
