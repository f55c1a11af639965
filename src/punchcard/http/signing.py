"""Links that open one thing for a time and need no keys: whoever has the link may use it.

A signature covers what the link opens and until when, and is made with the server's secret key. A link that is not
ours is refused before anything is looked up: the answer says nothing about what exists.
"""

import hashlib
import hmac
from datetime import UTC, datetime

import msgspec

from punchcard import secret_key
from punchcard.errors import ApiError


class SignatureWrong(ApiError):
    """A link that this server did not make, or that was changed."""

    status = 403
    key = "forbidden"
    message = "Forbidden"


class LinkExpired(ApiError):
    """The time of a link is over."""

    status = 410
    key = "link_expired"
    message = "Link expired"


class Signer:
    """Signs and checks the links of one kind."""

    def __init__(self, key: str, purpose: str) -> None:
        self._key = secret_key.derived(key, purpose)

    def query(self, *what: str, expires: int) -> str:
        """What a link ends with to open `what` until `expires`, in seconds since 1970."""
        return f"expires={expires}&signature={self._signature(what, str(expires))}"

    def check(self, *what: str, expires: str | None, signature: str | None) -> datetime:
        """Until when a link opens what it claims to open. Raises `SignatureWrong`."""
        expected = self._signature(what, expires or "")
        if not hmac.compare_digest(expected.encode(), (signature or "").encode(errors="replace")):
            raise SignatureWrong("The signature does not belong to this link: copy it whole, or ask for a new one")
        return datetime.fromtimestamp(int(expires or 0), UTC)

    def _signature(self, what: tuple[str, ...], expires: str) -> str:
        # as JSON: the parts cannot run into each other
        return hmac.new(self._key, msgspec.json.encode([*what, expires]), hashlib.sha256).hexdigest()


def refuse_expired(until: datetime, now: datetime) -> None:
    """Raises `LinkExpired`."""
    if now >= until:
        raise LinkExpired(f"This link could be used until {until:%F %T}Z; ask for a new one")
