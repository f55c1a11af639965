"""The records of a bulk request: told apart without decoding them, checked one by one, stored as they were sent.

Two kinds of body: an array of records, each checked against its type (`accept_records`), and an object that lists
records by one key and says what all of them get (`accept_listed`).
"""

import asyncio
import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, Generic, TypeVar

import msgspec
from msgspec import Meta, Raw, Struct

from punchcard.bulk import async_actions
from punchcard.bulk.async_actions import Record, Scheduled
from punchcard.bulk.jobs import Job
from punchcard.db.database import Conn
from punchcard.errors import InvalidPayload, RecordError
from punchcard.http import idempotency, shapes
from punchcard.http.answers import request_id_of
from punchcard.http.bodies import BodyBudget, BodyLimit
from punchcard.http.shapes import ID_LENGTH_MAX
from punchcard.settings import Settings

# Decoded, a short value takes up to thirty times the bytes it was sent in, and a text with one character
# outside Latin-1 up to four times. Only a record that is large is looked through.
RECORD_VALUES_MAX = 500_000
RECORD_WIDE_BYTES_MAX = 12 * 1024 * 1024
_LARGE_BYTES = 1024 * 1024

# how much is decoded before other requests get their turn
BYTES_AT_A_STRETCH = 64 * 1024
# A body of at most so many bytes is checked while it is being stored, since both take about as long.
STORED_UNCHECKED_BYTES_MAX = 4 * 1024 * 1024

# what all listed records get is stored with each of them, and what a campaign has with each of its vouchers
METADATA_BYTES_MAX = 16 * 1024

# beside the event loop, since a hostile body takes seconds. Two, and not as many as there are bodies, because
# each takes memory; not one, because small bodies need not wait for the large one whose turn it is
_readers = ThreadPoolExecutor(2, thread_name_prefix="read_records")

_untyped = msgspec.json.Decoder()
_ABSENT = Raw(b"")

RecordT = TypeVar("RecordT")


class Rewritten(Exception):
    """A record is not stored as it was sent: it has integers that are written as floats."""


# ---- arrays, undecoded -------------------------------------------------------------------------

# up to so many elements a decoder of its own is quick to make
_FIELDS_MAX = 10_000
# so many may be taken for a moment to see that they are too many
_COUNTED_MAX = 1_000_000
_uncounted = msgspec.json.Decoder(list[Raw])


def split(body: bytes | Raw, elements_max: int, *, nouns: str, path: str = "") -> list[Raw]:
    """The elements of a JSON array, undecoded: a body of millions of empty records is refused in milliseconds.

    Raises `InvalidPayload`, which speaks of `nouns` (such as `orders`) or, of an array inside a body, its `path`.
    """
    subject = f"Property {path}" if path else "Payload"
    too_many = f"{subject} must have at most {elements_max} {nouns}"
    try:
        if elements_max > _FIELDS_MAX and bytes(body).count(b",") < _COUNTED_MAX:
            elements = _uncounted.decode(body)
            if len(elements) > elements_max:
                raise InvalidPayload(too_many)
            return elements
        array = _array_decoder(elements_max).decode(body)
    except msgspec.ValidationError as error:
        if "at most length" in str(error):
            raise InvalidPayload(too_many) from None
        raise InvalidPayload(f"{subject} must be an array of {nouns}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidPayload(shapes.complaint(error, prefix=path)) from None
    return [raw for raw in msgspec.structs.astuple(array) if raw is not _ABSENT]


@functools.lru_cache(maxsize=4)
def _array_decoder(elements_max: int) -> "msgspec.json.Decoder[Any]":
    """Decodes an array of at most so many elements into undecoded slices.

    A struct written as an array is the one shape for which msgspec stops at the first element too many. One of 100,000
    fields takes 45 MB and 0.3 s to make.
    """
    fields: list[tuple[str, Any, Any]] = [(f"element_{index}", Raw, _ABSENT) for index in range(elements_max)]
    return msgspec.json.Decoder(msgspec.defstruct("Elements", fields, array_like=True, forbid_unknown_fields=True))


# ---- records of a type -------------------------------------------------------------------------


def _is_plain(record: Any) -> bool:
    return not record.metadata or shapes.is_plain(record.metadata)


def _check_metadata(record: Any, path: str) -> None:
    shapes.check_metadata(record.metadata, f"{path}.metadata")


class RecordShape(Generic[RecordT]):
    """What the records of a request are, and what is refused of them when they are accepted.

    `is_plain` is a quick look whether `check_metadata` can have nothing against any metadata of a record.
    """

    def __init__(
        self,
        kind: type[RecordT],
        *,
        nouns: str,
        is_plain: Callable[[RecordT], bool] = _is_plain,
        check_metadata: Callable[[RecordT, str], None] = _check_metadata,
    ) -> None:
        self.nouns = nouns
        self._decoder = msgspec.json.Decoder(kind)
        self._is_plain, self._check_metadata = is_plain, check_metadata

    def decode(self, body: bytes) -> RecordT:
        """A record that was accepted. Raises `RecordError`: another version of this program may have done so."""
        try:
            return self._decoder.decode(body)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise RecordError(shapes.complaint(error)) from None

    def read(self, body: bytes, *, records_max: int) -> list[Record]:
        """The records of a body, as JSON each. Raises `InvalidPayload` with the path of the first shape error."""
        nul = b"\\u0000" in body
        return [self._checked(raw, index, nul=nul) for index, raw in enumerate(self.split(body, records_max))]

    def split(self, body: bytes, records_max: int) -> list[Raw]:
        """The records of a body, undecoded."""
        return split(body, records_max, nouns=self.nouns)

    async def check(self, records: Sequence[Raw], *, nul: bool) -> None:
        """Check records while they are being stored, and give way to that every now and then.

        Raises `InvalidPayload` as `read` does, and `Rewritten` where a record has to be stored otherwise than sent.
        """
        at_a_stretch = 0
        for index, raw in enumerate(records):
            if self._checked(raw, index, nul=nul) is not raw:
                raise Rewritten
            at_a_stretch += len(raw)
            if at_a_stretch > BYTES_AT_A_STRETCH:
                await asyncio.sleep(0)
                at_a_stretch = 0

    def _checked(self, raw: Raw, index: int, *, nul: bool) -> Record:
        path, text = f".[{index}]", bytes(raw)
        if len(text) > _LARGE_BYTES:
            _refuse_inflatable(text, path)
        if shapes.is_nested_too_deeply(text):
            raise InvalidPayload(f"Property {path} is nested deeper than {shapes.NESTING_MAX} levels")
        try:
            record = self._decoder.decode(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            body, record = self._with_integral_floats(raw, error, path)
            self._check_storable(record, path, nul=nul)
            return body
        self._check_storable(record, path, nul=nul)
        return raw

    def _with_integral_floats(self, raw: Raw, error: Exception, path: str) -> tuple[bytes, RecordT]:
        """The record with `70000.0` written as `70000`, if that was all that was wrong with it."""
        if "got `float`" in str(error):
            try:
                body = msgspec.json.encode(shapes.integers_from_floats(_untyped.decode(raw)))
                return body, self._decoder.decode(body)
            except (msgspec.MsgspecError, RecursionError) as still:
                error = still
        raise InvalidPayload(shapes.complaint(error, prefix=path)) from None

    def _check_storable(self, record: RecordT, path: str, *, nul: bool) -> None:
        """Refuse what is JSON and yet cannot be stored; NUL characters are only looked for where there may be any."""
        if not self._is_plain(record):
            self._check_metadata(record, path)
        if nul and shapes.holds_nul(msgspec.json.encode(record)):
            shapes.refuse_nul(msgspec.to_builtins(record), path)


def _refuse_inflatable(record: bytes, path: str) -> None:
    """Refuse a record that would take far more memory than the body budget has counted for it."""
    if record.count(b",") + record.count(b"[") + record.count(b"{") > RECORD_VALUES_MAX:
        raise InvalidPayload(f"Property {path} must have at most {RECORD_VALUES_MAX} values")
    if len(record) > RECORD_WIDE_BYTES_MAX and (not record.isascii() or b"\\u" in record):
        raise InvalidPayload(f"Property {path} must have at most {RECORD_WIDE_BYTES_MAX} bytes unless it is all ASCII")


async def accept_records(
    request: Any,
    project: str,
    idempotency_key: str | None,
    job: Job,
    shape: RecordShape[Any],
    *,
    records_max: int,
    limit: BodyLimit | None = None,
    empty_allowed: bool = False,
    dry_run: bool = False,
    parameters: Mapping[str, Any] | None = None,
) -> Any:
    """Accept an array of records for `job`: the answer to the request, which is the framework's.

    `parameters` came beside the records. `empty_allowed`: no body at all is no records. Raises `InvalidPayload` with
    the path of the first shape error, and what `BodyBudget.json` and `idempotency.once` raise.
    """
    budget: BodyBudget = request.app.state.body_budget
    key = idempotency.checked(request, idempotency_key)
    async with budget.json(request, limit=limit) as sent:
        once = await idempotency.once(request, project, key, sent, threads=_readers)
        if (repeated := await once.repeated()) is not None:
            return repeated
        body = b"[]" if empty_allowed and not sent.strip() else sent
        schedule = functools.partial(
            async_actions.schedule, project=project, job=job, request_id=request_id_of(request),
            parameters=parameters, dry_run=dry_run,
        )  # fmt: skip

        async def accept_checked(conn: Conn) -> Scheduled:
            return Scheduled(await schedule(conn, records=records))

        async def accept_meanwhile(conn: Conn) -> Scheduled:
            """Check while PostgreSQL writes: what is refused is rolled back."""
            checked = asyncio.create_task(shape.check(raws, nul=b"\\u0000" in body))
            try:
                return Scheduled(await schedule(conn, records=raws))
            finally:
                await checked

        answer = None
        if len(body) <= STORED_UNCHECKED_BYTES_MAX:
            raws = shape.split(body, records_max)
            # one that is large would hold everybody up while it is decoded
            if all(len(raw) <= _LARGE_BYTES // 8 for raw in raws):
                with contextlib.suppress(Rewritten):
                    answer = await once.take_effect(accept_meanwhile)
        if answer is None:
            read = functools.partial(shape.read, body, records_max=records_max)
            records = await asyncio.get_running_loop().run_in_executor(_readers, read)
            answer = await once.take_effect(accept_checked)
    request.app.state.work_notifier.ask()
    return answer


# ---- records that are listed by a key ----------------------------------------------------------


class Listed(Struct, frozen=True):
    """The records of a metadata update: `{"source_id": ...}` each, and the metadata that all of them get."""

    records: list[Record]
    metadata: dict[str, Any]


_metadata_decoder = msgspec.json.Decoder(dict[str, Any])
_key_decoder = msgspec.json.Decoder(Annotated[str, Meta(min_length=1, max_length=ID_LENGTH_MAX)])
_NULL = Raw(b"null")


def read_listed(
    body: bytes,
    *,
    field: str,
    key: str,
    records_max: int,
    lenient: bool,
    check_metadata: Callable[[dict[str, Any], str], None] = shapes.check_metadata,
) -> Listed:
    """A body such as `{"source_ids": [...], "metadata": {...}}`, where `field` is `source_ids` and `key` `source_id`.

    `lenient`: what is left out is empty. `check_metadata` is given the metadata and its path. Raises `InvalidPayload`
    with the path of the first shape error.
    """
    if lenient and not body.strip():
        body = b"{}"
    # the two parts that are asked for are taken undecoded, the others are not looked at
    parts = msgspec.defstruct("Parts", [(field, Raw, _NULL), ("metadata", Raw, _NULL)])
    try:
        decoded: Any = msgspec.json.decode(body, type=parts)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidPayload(shapes.complaint(error)) from None
    listed, metadata = getattr(decoded, field), decoded.metadata
    for name, part in ((field, listed), ("metadata", metadata)):
        if bytes(part) == b"null" and not lenient:
            raise InvalidPayload(f"Payload should have required property '{name}'")
    nul = b"\\u0000" in body
    keys = [] if bytes(listed) == b"null" else split(listed, records_max, nouns="elements", path=f".{field}")
    for index, raw in enumerate(keys):
        _check_key(raw, f".{field}[{index}]", nul=nul)
    start = b'{"%b":' % key.encode()
    values = {} if bytes(metadata) == b"null" else _metadata_of(metadata, check_metadata, nul=nul)
    return Listed([b"%b%b}" % (start, raw) for raw in keys], values)


def _check_key(raw: Raw, path: str, *, nul: bool) -> None:
    try:
        value = _key_decoder.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidPayload(shapes.complaint(error, prefix=path)) from None
    if nul:
        shapes.refuse_nul(value, path)


def _metadata_of(raw: Raw, check: Callable[[dict[str, Any], str], None], *, nul: bool) -> dict[str, Any]:
    path, text = ".metadata", bytes(raw)
    if len(text) > METADATA_BYTES_MAX:
        raise InvalidPayload(f"Property {path} must have at most {METADATA_BYTES_MAX} bytes")
    if shapes.is_nested_too_deeply(text):
        raise InvalidPayload(f"Property {path} is nested deeper than {shapes.NESTING_MAX} levels")
    try:
        metadata = _metadata_decoder.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidPayload(shapes.complaint(error, prefix=path)) from None
    check(metadata, path)
    if nul:
        shapes.refuse_nul(metadata, path)
    return metadata


async def accept_listed(
    request: Any,
    project: str,
    idempotency_key: str | None,
    job: Job,
    *,
    field: str = "source_ids",
    key: str = "source_id",
    lenient: bool = False,
    check_metadata: Callable[[dict[str, Any], str], None] = shapes.check_metadata,
) -> Any:
    """Accept a metadata update for `job`, whose records are listed by `key`: the answer to the request.

    The metadata is in the action's parameters, as `metadata`. Raises as `accept_records` does.
    """
    budget: BodyBudget = request.app.state.body_budget
    settings: Settings = request.app.state.settings
    checked_key = idempotency.checked(request, idempotency_key)
    async with budget.json(request, limit=body_limit(settings)) as body:
        once = await idempotency.once(request, project, checked_key, body, threads=_readers)
        if (repeated := await once.repeated()) is not None:
            return repeated
        read = functools.partial(
            read_listed, body, field=field, key=key, records_max=settings.bulk_records_max, lenient=lenient,
            check_metadata=check_metadata,
        )  # fmt: skip
        # a small one is read sooner than a thread would take it up
        small = len(body) <= BYTES_AT_A_STRETCH
        listed = read() if small else await asyncio.get_running_loop().run_in_executor(_readers, read)
        parameters: Mapping[str, Any] = {"metadata": listed.metadata}

        async def act(conn: Conn) -> Scheduled:
            action_id = await async_actions.schedule(
                conn, project, job, records=listed.records, request_id=request_id_of(request), parameters=parameters
            )
            return Scheduled(action_id)

        answer = await once.take_effect(act)
    request.app.state.work_notifier.ask()
    return answer


def body_limit(settings: Settings) -> BodyLimit:
    """The largest body of a bulk update."""
    return BodyLimit(settings.bulk_body_bytes_max, "bulk_body_bytes_max")
