"""Who is calling: `X-App-Id` and `X-App-Token`, several pairs a project.

Tokens are stored as SHA-256 (they are random and long, so nothing slower is needed) and compared in
constant time. An unknown id costs the same comparison as a wrong token.
"""

import hashlib
import hmac

from litestar import Request
from msgspec import Struct

from punchcard.db import statements
from punchcard.db.database import Database
from punchcard.errors import Unauthorized

SQL = statements.beside(__file__)

APP_ID_HEADER = "X-App-Id"
APP_TOKEN_HEADER = "X-App-Token"  # noqa: S105 - the header's name
HEADER_LENGTH_MAX = 200
_NO_HASH = bytes(32)


class ApiKeyUsed(Struct, frozen=True):
    """The key pair that a request came with, as others may know it."""

    name: str
    app_id: str


def token_hash(token: str) -> bytes:
    """What is stored of a token: 32 bytes."""
    return hashlib.sha256(token.encode()).digest()


async def authenticated_project(request: Request) -> str:  # type: ignore[type-arg]
    """The id of the project that the request's server-side keys open. Raises `Unauthorized`."""
    app_id, token = request.headers.get(APP_ID_HEADER, ""), request.headers.get(APP_TOKEN_HEADER, "")
    if not app_id or not token or len(app_id) > HEADER_LENGTH_MAX or "\x00" in app_id:
        raise Unauthorized("Send the headers X-App-Id and X-App-Token")
    database: Database = request.app.state.database
    async with database.connection() as conn:
        key = await (await conn.execute(SQL.api_key_get, {"app_id": app_id, "kind": "server"})).fetchone()
    matches = hmac.compare_digest(token_hash(token), bytes(key.token_hash) if key else _NO_HASH)
    if key is None or not matches:
        raise Unauthorized("No such application id, or the token does not belong to it")
    request.state.api_key = ApiKeyUsed(key.name, app_id)
    return str(key.project_id)


def api_key_of(request: Request) -> ApiKeyUsed:  # type: ignore[type-arg]
    """The key pair that an authenticated request came with."""
    key: ApiKeyUsed = request.state.api_key
    return key
