"""What is stored of the tokens that open a project."""

import hashlib


def token_hash(token: str) -> bytes:
    """What is stored of a token: 32 bytes."""
    return hashlib.sha256(token.encode()).digest()
