"""Who is calling: `X-App-Id` and `X-App-Token`, several pairs a project.

Tokens are stored as SHA-256 (they are random and long, so nothing slower is needed) and compared in
constant time. An unknown id costs the same comparison as a wrong token.
"""

import hmac
import time

from litestar import Request
from msgspec import Struct

from punchcard.db import statements
from punchcard.db.database import Database
from punchcard.errors import Unauthorized
from punchcard.http.tokens import token_hash

SQL = statements.beside(__file__)

APP_ID_HEADER = "X-App-Id"
APP_TOKEN_HEADER = "X-App-Token"  # noqa: S105 - the header's name
HEADER_LENGTH_MAX = 200
PAIR_KNOWN_S = 1.0
PAIRS_KNOWN_MAX = 10_000
_NO_HASH = bytes(32)


class ApiKeyUsed(Struct, frozen=True):
    """The key pair that a request came with, as others may know it."""

    name: str
    app_id: str


class _KeyPair(Struct, frozen=True):
    """A key pair as it is stored, and until when (monotonic) that may be relied on."""

    project_id: str
    name: str
    token_hash: bytes
    until: float


class KeyPairs:
    """The key pairs of this server. One that was looked up is known for a second, which spares most requests a
    statement: whoever blocks a pair shuts out its requests a second later.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[str, _KeyPair] = {}

    async def get(self, app_id: str) -> _KeyPair | None:
        """The server-side pair with that id, unless it is blocked."""
        known = self._known.get(app_id)
        if known is not None and time.monotonic() < known.until:
            return known
        async with self._database.connection() as conn:
            row = await (await conn.execute(SQL.api_key_get, {"app_id": app_id, "kind": "server"})).fetchone()
        if row is None:
            self._known.pop(app_id, None)
            return None
        if len(self._known) >= PAIRS_KNOWN_MAX:
            self._known.clear()
        found = _KeyPair(str(row.project_id), row.name, bytes(row.token_hash), time.monotonic() + PAIR_KNOWN_S)
        self._known[app_id] = found
        return found


async def authenticated_project(request: Request) -> str:  # type: ignore[type-arg]
    """The id of the project that the request's server-side keys open. Raises `Unauthorized`."""
    app_id, token = request.headers.get(APP_ID_HEADER, ""), request.headers.get(APP_TOKEN_HEADER, "")
    if not app_id or not token or len(app_id) > HEADER_LENGTH_MAX or "\x00" in app_id:
        raise Unauthorized("Send the headers X-App-Id and X-App-Token")
    pairs: KeyPairs = request.app.state.key_pairs
    key = await pairs.get(app_id)
    matches = hmac.compare_digest(token_hash(token), _NO_HASH if key is None else key.token_hash)
    if key is None or not matches:
        raise Unauthorized("No such application id, or the token does not belong to it")
    request.state.api_key = ApiKeyUsed(key.name, app_id)
    return key.project_id


def api_key_of(request: Request) -> ApiKeyUsed:  # type: ignore[type-arg]
    """The key pair that an authenticated request came with."""
    key: ApiKeyUsed = request.state.api_key
    return key
