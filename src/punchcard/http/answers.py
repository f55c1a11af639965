"""Every answer: a request id, and the documented error object for whatever went wrong."""

import time
from typing import Any

import structlog
from litestar import MediaType, Request, Response
from litestar.datastructures import Headers
from litestar.enums import ScopeType
from litestar.exceptions import HTTPException, ValidationException
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from msgspec import UNSET, Struct, UnsetType

from punchcard import ids, log
from punchcard.errors import ApiError
from punchcard.http import shapes

logger = log.get(__name__)

REQUEST_ID_HEADER = "X-Request-Id"
API_PREFIX = "/v1/"
_ACCEPTABLE = ("application/json", "application/*", "*/*", "+json")


class ErrorMessage(Struct):
    """A text that a user of the project wrote for this error."""

    message: str


class Error(Struct, omit_defaults=True):
    """The documented error object; `code` repeats the HTTP status."""

    code: int
    message: str
    key: str | UnsetType = UNSET
    details: str | UnsetType = UNSET
    request_id: str | UnsetType = UNSET
    resource_id: str | UnsetType = UNSET
    resource_type: str | UnsetType = UNSET
    error: ErrorMessage | UnsetType = UNSET


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
                resource="/".join(scope["path"].split("/")[:3]),
                status=status,
                ms=round((time.perf_counter() - started) * 1000, 1),
            )
        return None

    return middleware


def refuse_unacceptable(request: Request) -> None:  # type: ignore[type-arg]
    """Raise `NotAcceptable` when the client accepts none of the types we answer with."""
    accept = Headers.from_scope(request.scope).get("accept", "")
    if accept and not any(kind in accept for kind in _ACCEPTABLE) and request.url.path.startswith(API_PREFIX):
        raise NotAcceptable("Answers are application/json")


def answer_api_error(request: Request, error: ApiError) -> Response[Any]:  # type: ignore[type-arg]
    """The error object for one of our own errors."""
    body = Error(
        code=error.status,
        key=error.key,
        message=error.message,
        details=error.details or UNSET,
        request_id=request_id_of(request),
        resource_id=error.resource_id or UNSET,
        resource_type=error.resource_type or UNSET,
    )
    if error.status >= 500:
        logger.warning("unavailable", cause=type(error.__cause__).__name__)
    return _answer(error.status, body, headers=error.headers, extra=error.extra)


def answer_framework_error(request: Request, error: HTTPException) -> Response[Any]:  # type: ignore[type-arg]
    """The error object for what the framework refused: unknown paths, methods, query parameters."""
    key, message = _FRAMEWORK.get(error.status_code, ("internal_error", "Internal error"))
    details = error.detail
    if isinstance(error, ValidationException):
        key, message, details = "invalid_query_params", "Invalid query params", _query_complaint(error)
    elif error.status_code == 404:
        details = "No such path"
    body = Error(code=error.status_code, key=key, message=message, details=details, request_id=request_id_of(request))
    return _answer(error.status_code, body, headers=error.headers or {})


def answer_unexpected(request: Request, error: Exception) -> Response[Any]:  # type: ignore[type-arg]
    """The error object for a defect of ours; the log has the trace, the answer only the request id."""
    logger.exception("defect", exc_info=error)
    body = Error(code=500, key="internal_error", message="Internal error", request_id=request_id_of(request))
    return _answer(500, body)


def _query_complaint(error: ValidationException) -> str:
    faults = error.extra if isinstance(error.extra, list) else []
    for fault in faults:
        return shapes.phrase(str(fault.get("message", "")), f"Property .{fault.get('key', '')}")
    return error.detail


def _answer(
    status: int, body: Error, *, headers: dict[str, str] | None = None, extra: dict[str, Any] | None = None
) -> Response[Any]:
    content: Any = body
    if extra:
        content = {
            name: value for name in body.__struct_fields__ if (value := getattr(body, name)) is not UNSET
        } | extra
    return Response(content, status_code=status, media_type=MediaType.JSON, headers=headers)


EXCEPTION_HANDLERS: Any = {
    ApiError: answer_api_error,
    HTTPException: answer_framework_error,
    Exception: answer_unexpected,
}
