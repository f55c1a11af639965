"""A request body that is one JSON object, checked against its type."""

from typing import Any, TypeVar

import msgspec

from punchcard.errors import InvalidPayload
from punchcard.http import shapes

ObjectT = TypeVar("ObjectT")


def read(body: bytes, decoder: "msgspec.json.Decoder[ObjectT]", *, empty_allowed: bool = False) -> ObjectT:
    """The object in `body`; where `empty_allowed`, no body at all is an empty object. Integral floats are integers.

    Metadata still has to be looked at: `shapes.check_metadata`. Raises `InvalidPayload` with the path.
    """
    body = body.strip()
    if not body:
        if not empty_allowed:
            raise InvalidPayload("Payload is empty: send a JSON object")
        body = b"{}"
    if shapes.is_nested_too_deeply(body):
        raise InvalidPayload(f"Payload is nested deeper than {shapes.NESTING_MAX} levels")
    try:
        found = decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        found = _with_integral_floats(body, decoder, error)
    if b"\\u0000" in body:
        shapes.refuse_nul(msgspec.to_builtins(found), "")
    return found


_untyped: "msgspec.json.Decoder[Any]" = msgspec.json.Decoder()


def _with_integral_floats(body: bytes, decoder: "msgspec.json.Decoder[ObjectT]", error: Exception) -> ObjectT:
    """The object with `70000.0` as 70000, if that was all that was wrong with it."""
    if "got `float`" in str(error):
        try:
            return decoder.decode(msgspec.json.encode(shapes.integers_from_floats(_untyped.decode(body))))
        except (msgspec.MsgspecError, RecursionError) as still:
            error = still
    raise InvalidPayload(shapes.complaint(error)) from None
