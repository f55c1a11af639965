"""The server's secret key: what it signs with.

It is a setting, or a file in the data directory that whoever comes first makes. Each use takes a key of its own that
follows from it, so that what one use gives away is worth nothing to another.
"""

import hashlib
import hmac
import os
import secrets
import tempfile
from pathlib import Path

from punchcard.errors import PunchcardError
from punchcard.settings import SECRET_KEY_LENGTH_MIN

FILE = "secret.key"
RANDOM_BYTES = 32


class SecretKeyDamaged(PunchcardError):
    """The file in the data directory does not hold a key."""


def of_directory(directory: Path) -> str:
    """The key of a data directory, made if it has none. Raises `OSError`, `SecretKeyDamaged`."""
    file = directory / FILE
    if not file.exists():
        _make(file)
    key = file.read_bytes().decode(errors="replace").strip()
    if len(key) < SECRET_KEY_LENGTH_MIN:
        raise SecretKeyDamaged(
            f"{file} holds no key of at least {SECRET_KEY_LENGTH_MIN} characters: put the one that was there back,"
            " or remove the file to have a new one made; links signed so far then no longer open"
        )
    return key


def derived(key: str, purpose: str) -> bytes:
    """The key for one purpose: 32 bytes that say nothing about those for others."""
    return hmac.digest(key.encode(), purpose.encode(), hashlib.sha256)


def _make(file: Path) -> None:
    """Write the file whole or not at all, readable by its owner alone; of several who try, the first one's stays."""
    descriptor, draft = tempfile.mkstemp(dir=file.parent, prefix=f".{FILE}.")
    try:
        with os.fdopen(descriptor, "w") as stream:
            # as text: so it can be given to other machines as the setting
            stream.write(secrets.token_hex(RANDOM_BYTES) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        try:
            os.link(draft, file)
        except FileExistsError:
            return
    finally:
        Path(draft).unlink()
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
