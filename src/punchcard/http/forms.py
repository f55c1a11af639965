"""A request body that is a form with one file, as `multipart/form-data` (RFC 7578)."""

from multipart import (  # type: ignore[import-untyped]
    MultipartError,
    MultipartSegment,
    ParserLimitReached,
    PushMultipartParser,
    parse_options_header,
)

from punchcard.errors import InvalidPayload, PayloadTooLarge
from punchcard.http.bodies import BodyLimit

FORM_TYPE = "multipart/form-data"
# how much longer than its file a form may be
WRAPPING_BYTES_MAX = 64 * 1024
PARTS_MAX = 20
_HEADER_BYTES_MAX = 8192
_HEADERS_MAX = 16


def file_of(body: bytes, content_type: str, *, name: str, limit: BodyLimit) -> bytes:
    """The file that a form has as the part `name`; its other parts are left out of account.

    Nothing but the part's name is looked at: neither the file's name nor its type. Raises `InvalidPayload`,
    `PayloadTooLarge`.
    """
    media_type, options = parse_options_header(content_type)
    boundary = options.get("boundary", "").encode("latin-1", errors="replace")
    if media_type != FORM_TYPE or not boundary:
        raise InvalidPayload(f"Payload should have required property '{name}'")
    files = _parts(body, boundary, name)
    if not files:
        raise InvalidPayload(f"Payload should have required property '{name}'")
    if len(files) > 1:
        raise InvalidPayload(f"Property .{name} must be sent once")
    if len(files[0]) > limit.bytes_max:
        raise PayloadTooLarge(limit.bytes_max, setting=limit.setting)
    return files[0]


def _parts(body: bytes, boundary: bytes, name: str) -> list[bytes]:
    """The parts of a form that have a name. Raises `InvalidPayload`."""
    found: list[bytes] = []
    chunks: list[bytes] | None = None
    try:
        with PushMultipartParser(
            boundary, max_header_size=_HEADER_BYTES_MAX, max_header_count=_HEADERS_MAX, max_segment_count=PARTS_MAX
        ) as parser:
            for event in parser.parse(body):
                if isinstance(event, MultipartSegment):
                    chunks = [] if event.name == name else None
                elif chunks is not None and event is not None:
                    chunks.append(event)
                elif chunks is not None:
                    found.append(chunks[0] if len(chunks) == 1 else b"".join(chunks))
    except ParserLimitReached as error:
        raise InvalidPayload(f"Payload is a form with more than it may have: {error.args[0]}") from None
    except (MultipartError, LookupError, ValueError) as error:
        raise InvalidPayload(
            f"Payload is not a form as {FORM_TYPE}: {error.args[0] if error.args else error}"
        ) from None
    return found
