"""Every answer: a request id, and the documented error object for whatever went wrong."""

import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

import structlog
from litestar import MediaType, Request, Response
from litestar.datastructures import Headers
from litestar.enums import ScopeType
from litestar.exceptions import HTTPException, ValidationException
from litestar.openapi.datastructures import ResponseSpec
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from msgspec import UNSET, Struct, UnsetType
from psycopg import errors as pg

from punchcard import ids, log
from punchcard.errors import ApiError, NotFound, PayloadTooLarge, RecordError, Unavailable
from punchcard.http import shapes

logger = log.get(__name__)

REQUEST_ID_HEADER = "X-Request-Id"
API_PREFIX = "/v1/"
_ACCEPTABLE = ("application/json", "application/x-ndjson", "application/*", "*/*", "+json")
# what a parameter of a path stands for that is not named after it
_RESOURCES = {"code": "voucher", "resource": "metadata schema"}
# what a slash inside one segment of a path is while routes are matched: a character that no request can send
_SLASH_IN_SEGMENT = "\udc2f"


class ErrorMessage(Struct):
    """A text that a user of the project wrote for this error."""

    message: str


class Error(Struct, omit_defaults=True):
    """The documented error object; `code` repeats the HTTP status."""

    code: int
    message: str
    key: str
    request_id: str
    details: str | UnsetType = UNSET
    resource_id: str | UnsetType = UNSET
    resource_type: str | UnsetType = UNSET
    error: ErrorMessage | UnsetType = UNSET


# of operations whose query or body names other objects; that a path may name none goes without saying
NAMED_NOT_FOUND = {404: ResponseSpec(Error, generate_examples=False, description="Nothing has an id that is named.")}


class PayloadTooLargeError(Struct, omit_defaults=True):
    """The error object of a 413: the documented one has fields of its own, and ours has the common ones beside them."""

    code: int
    message: str
    key: str
    request_id: str
    statusCode: int  # noqa: N815 - documented so
    error: str
    details: str | UnsetType = UNSET


class NotAcceptable(ApiError):
    """The client accepts no JSON."""

    status = 406
    key = "not_acceptable"
    message = "Not Acceptable"


# the framework's own refusals: status, key, message
_FRAMEWORK = {
    400: ("invalid_payload", "Invalid payload"),
    401: ("unauthorized", "Unauthorized"),
    403: ("forbidden", "Forbidden"),
    404: ("resource_not_found", "Resource not found"),
    405: ("method_not_allowed", "HTTP Method Not Allowed"),
    406: ("not_acceptable", "Not Acceptable"),
    408: ("request_timeout", "Request Timeout"),
    413: ("payload_too_large", "Payload too large"),
    415: ("unsupported_media_type", "Unsupported Media Type"),
    429: ("too_many_requests", "Too many requests hit the API too quickly."),
}


def request_id_of(request: Request) -> str:  # type: ignore[type-arg]
    """The id that this request's answer carries and its jobs remember."""
    return str(request.scope["state"]["request_id"])


def identified(app: ASGIApp) -> ASGIApp:
    """Middleware: give the request an id, put it into the answer and the logs, and log one line when it is done."""

    async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            return await app(scope, receive, send)
        request_id = ids.request_id()
        scope.setdefault("state", {})["request_id"] = request_id
        started, status = time.perf_counter(), 0

        async def send_identified(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (REQUEST_ID_HEADER.lower().encode(), request_id.encode())]
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            await app(scope, receive, send_identified)
            # the path holds ids of the user's choosing, which can be e-mail addresses: only its first two parts
            logger.debug(
                "request",
                method=scope["method"],
                resource="/".join(scope["path"].split("/")[:3]).replace(_SLASH_IN_SEGMENT, "/"),
                status=status,
                ms=round((time.perf_counter() - started) * 1000, 1),
            )
        return None

    return middleware


def segmented(app: ASGIApp) -> ASGIApp:
    """Middleware: an encoded slash (`%2F`) belongs to the id it stands in and separates nothing."""

    async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP and b"%2f" in (raw := scope["raw_path"].partition(b"?")[0].lower()):
            raw = scope["raw_path"][: len(raw)]
            segments = (unquote_to_bytes(segment).decode(errors="replace") for segment in raw.split(b"/"))
            scope["path"] = "/".join(segment.replace("/", _SLASH_IN_SEGMENT) for segment in segments)
        await app(scope, receive, send)

    return middleware


async def prepare(request: Request) -> Response[None] | None:  # type: ignore[type-arg]
    """What every request to a route passes before its handler. Raises `NotAcceptable`, `NotFound`.

    It waits for nothing, but what is no coroutine would be run by the framework in a thread, which costs 0.3 ms.
    """
    if request.method == "OPTIONS":
        # the framework's own answer knows only the methods that the path had when its first handler came
        methods = request.app.route_handler_method_map[request.scope["path_template"]]
        return Response(None, status_code=204, headers={"allow": ", ".join(sorted(methods))})
    accept = Headers.from_scope(request.scope).get("accept", "").lower()
    if accept and not any(kind in accept for kind in _ACCEPTABLE) and request.scope["path"].startswith(API_PREFIX):
        raise NotAcceptable("Answers are application/json")
    parameters = request.scope["path_params"]
    for name in parameters:
        parameters[name] = parameters[name].replace(_SLASH_IN_SEGMENT, "/")
        if "\x00" in parameters[name]:  # PostgreSQL could not even be asked
            raise NotFound(_RESOURCES.get(name, name.removesuffix("_id")), parameters[name])
    return None


def answer_api_error(request: Request, error: ApiError) -> Response[Any]:  # type: ignore[type-arg]
    """The error object for one of our own errors."""
    if error.status >= 500:
        logger.warning("unavailable", cause=type(error.__cause__).__name__)
    body = Error(
        code=error.status,
        key=error.key,
        message=error.message,
        request_id=request_id_of(request),
        details=error.details or UNSET,
        resource_id=error.resource_id or UNSET,
        resource_type=error.resource_type or UNSET,
    )
    return _answer(body, headers=error.headers)


def answer_record_error(request: Request, error: RecordError) -> Response[Any]:  # type: ignore[type-arg]
    """The error object for a request about one record that cannot be taken."""
    return answer_api_error(request, error.refusal())


def answer_overtaken(request: Request, error: Exception) -> Response[Any]:  # type: ignore[type-arg]
    """The error object for a transaction that lost against others."""
    unavailable = Unavailable("Others change the same objects at this moment")
    unavailable.__cause__ = error
    return answer_api_error(request, unavailable)


def answer_payload_too_large(request: Request, error: PayloadTooLarge) -> Response[Any]:  # type: ignore[type-arg]
    """The error object of a 413."""
    body = PayloadTooLargeError(
        code=error.status,
        key=error.key,
        message=error.message,
        request_id=request_id_of(request),
        statusCode=error.status,
        error="Request Entity Too Large",
        details=error.details or UNSET,
    )
    return _answer(body)


def answer_framework_error(request: Request, error: HTTPException) -> Response[Any]:  # type: ignore[type-arg]
    """The error object for what the framework refused: unknown paths, methods, query parameters."""
    key, message = _FRAMEWORK.get(error.status_code, ("internal_error", "Internal error"))
    details, headers = error.detail, dict(error.headers or {})
    if isinstance(error, ValidationException):
        key, message, details = "invalid_query_params", "Invalid query params", _query_complaint(error)
    elif error.status_code == 404:
        details = "No such path; /docs shows all that there are"
    elif error.status_code == 405:
        headers["allow"] = ", ".join(sorted(headers.get("allow", "").split(", ")))  # the framework's order changes
        details = f"Allowed methods: {headers['allow']}"
    body = Error(code=error.status_code, key=key, message=message, request_id=request_id_of(request), details=details)
    return _answer(body, headers=headers)


def answer_unexpected(request: Request, error: Exception) -> Response[Any]:  # type: ignore[type-arg]
    """The error object for a defect of ours; the log has the trace, the answer only the request id."""
    logger.exception("defect", exc_info=error)
    return _answer(Error(code=500, key="internal_error", message="Internal error", request_id=request_id_of(request)))


def _query_complaint(error: ValidationException) -> str:
    faults = error.extra if isinstance(error.extra, list) else []
    for fault in faults:
        return shapes.phrase(str(fault.get("message", "")), f"Property .{fault.get('key', '')}")
    return error.detail


def _answer(body: Error | PayloadTooLargeError, *, headers: Mapping[str, str] | None = None) -> Response[Any]:
    return Response(body, status_code=body.code, media_type=MediaType.JSON, headers=dict(headers or {}))


EXCEPTION_HANDLERS: Any = {
    PayloadTooLarge: answer_payload_too_large,
    ApiError: answer_api_error,
    RecordError: answer_record_error,
    pg.DeadlockDetected: answer_overtaken,
    pg.SerializationFailure: answer_overtaken,
    HTTPException: answer_framework_error,
    Exception: answer_unexpected,
}
