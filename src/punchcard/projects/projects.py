"""Projects and keys: what the command line makes, and what the first start of an empty database makes.

Tokens are shown once and stored hashed. The first-start credentials are also kept in
`DIR/credentials.json` (0600): written before the database learns them, so that a crash in between
loses nothing and the next start uses the same ones.
"""

import os
import secrets
import uuid
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from punchcard import ids
from punchcard.db import statements
from punchcard.db.database import Conn
from punchcard.db.embedded.refusals import acting_on
from punchcard.errors import PunchcardError
from punchcard.http.tokens import token_hash

SQL = statements.beside(__file__)

CREDENTIALS_FILE = "credentials.json"
NAME_LENGTH_MAX = 255
FIRST_PROJECT_NAME = "First project"
BOOTSTRAP_LOCK_KEY = 0x626F6F74  # "boot"


class CredentialsMissing(PunchcardError):
    """This data directory has no first-start credentials."""


class ProjectMissing(PunchcardError):
    """No project has that id."""


class SettingInvalid(PunchcardError):
    """A project cannot have that name, zone or key."""


class Project(Struct, frozen=True):
    """A project and its settings: the zone of dates without one, the metadata key that says when an order was placed,
    and, for good, whether `Code` and `CODE` are two voucher codes.

    `created_at` is in UTC.
    """

    id: str
    name: str
    timezone: str
    ordered_at_key: str
    case_sensitive_codes: bool
    created_at: datetime


class KeyPair(Struct, frozen=True):
    """An application id and its token; the token is known only to whoever made it."""

    id: str
    token: str


class Credentials(Struct, frozen=True):
    """What the first start of an empty database makes: a project and one key pair of each kind."""

    project_id: str
    application_id: str
    application_token: str
    client_application_id: str
    client_token: str
    management_id: str
    management_token: str


def new_pair() -> KeyPair:
    """A key pair from a cryptographic source."""
    return KeyPair(str(uuid.uuid4()), str(uuid.UUID(bytes=secrets.token_bytes(16))))


async def create_project(conn: Conn, name: str, *, case_sensitive_codes: bool = True) -> str:
    """A new project; returns its id."""
    project_id = ids.new("proj")
    row = {"id": project_id, "name": name, "case_sensitive_codes": case_sensitive_codes}
    await conn.execute(SQL.project_insert, row)
    return project_id


async def require_project(conn: Conn, project_id: str) -> None:
    """Raise `ProjectMissing` unless there is such a project."""
    if await (await conn.execute(SQL.project_get, {"project_id": project_id})).fetchone() is None:
        raise ProjectMissing(f"No project has the id {project_id}")


async def list_projects(conn: Conn) -> list[Project]:
    """All projects, the oldest first."""
    return [Project(**row._asdict()) for row in await (await conn.execute(SQL.project_list)).fetchall()]


async def get_project(conn: Conn, project_id: str) -> Project:
    """One project. Raises `ProjectMissing`."""
    return found(await (await conn.execute(SQL.project_show, {"project_id": project_id})).fetchone(), project_id)


def found(row: Any, project_id: str) -> Project:
    """The project of a row. Raises `ProjectMissing` without one."""
    if row is None:
        raise ProjectMissing(f"No project has the id {project_id}")
    return Project(**row._asdict())


def checked_text(text: str, what: str, length_max: int) -> str:
    """A text that can be stored and says something. Raises `SettingInvalid`."""
    if not text.strip():
        raise SettingInvalid(f"A project's {what} cannot be empty")
    if len(text) > length_max:
        raise SettingInvalid(
            f"A project's {what} can have at most {length_max} characters, and this one has {len(text)}"
        )
    if "\x00" in text or not text.isprintable():
        raise SettingInvalid(f"A project's {what} cannot have control characters")
    return text


async def create_key(conn: Conn, project_id: str, *, name: str) -> KeyPair:
    """A new server-side key pair of a project. Raises `ProjectMissing`."""
    await require_project(conn, project_id)
    pair = new_pair()
    await _insert_key(conn, pair, project_id=project_id, kind="server", name=name)
    return pair


async def _insert_key(conn: Conn, pair: KeyPair, *, project_id: str | None, kind: str, name: str) -> None:
    row = {
        "app_id": pair.id,
        "project_id": project_id,
        "kind": kind,
        "name": name,
        "token_hash": token_hash(pair.token),
    }
    await conn.execute(SQL.api_key_insert, row)


async def bootstrap(conn: Conn, directory: Path) -> None:
    """Give an empty database its first project and keys; does nothing to another. `conn` is in a transaction."""
    await conn.execute(SQL.bootstrap_lock, {"key": BOOTSTRAP_LOCK_KEY})
    found = await (await conn.execute(SQL.projects_any)).fetchone()
    assert found is not None
    if found.found:
        return
    if (directory / CREDENTIALS_FILE).exists():  # of a start that crashed before the database had committed
        credentials = read_credentials(directory)
    else:
        application, client, management = new_pair(), new_pair(), new_pair()
        credentials = Credentials(
            ids.new("proj"), application.id, application.token, client.id, client.token, management.id, management.token
        )
        write_credentials(directory, credentials)
    project_id = credentials.project_id
    row = {"id": project_id, "name": FIRST_PROJECT_NAME, "case_sensitive_codes": True}
    await conn.execute(SQL.project_insert, row)
    for kind, pair, owner in (
        ("server", KeyPair(credentials.application_id, credentials.application_token), project_id),
        ("client", KeyPair(credentials.client_application_id, credentials.client_token), project_id),
        ("management", KeyPair(credentials.management_id, credentials.management_token), None),
    ):
        await _insert_key(conn, pair, project_id=owner, kind=kind, name="First start")


def read_credentials(directory: Path) -> Credentials:
    """The first-start credentials of a data directory. Raises `CredentialsMissing`."""
    file = directory / CREDENTIALS_FILE
    try:
        return msgspec.json.decode(file.read_bytes(), type=Credentials)
    except FileNotFoundError:
        raise CredentialsMissing(
            f"{file} does not exist: it is written when `punchcard serve` first starts on an empty database."
            " For more keys: punchcard keys create --project ID"
        ) from None
    except PermissionError:
        raise CredentialsMissing(f"{file} may only be read by the user who started the server") from None
    except msgspec.MsgspecError as error:
        raise CredentialsMissing(f"{file} is damaged: {error}") from None


def write_credentials(directory: Path, credentials: Credentials) -> None:
    """Write the file whole or not at all, readable by its owner alone."""
    file, draft = directory / CREDENTIALS_FILE, directory / f".{CREDENTIALS_FILE}.new"
    with acting_on(file):
        draft.unlink(missing_ok=True)  # of a start that was killed
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(msgspec.json.format(msgspec.json.encode(credentials)) + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(file)
        folder = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
