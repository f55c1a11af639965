"""The errors of Punchcard: what a client sees, and what an operator sees.

An `ApiError` says with which status and body a request ends; a rule that can be broken defines its own
subclass beside the rule. The keys and phrases are those of the documented error object.
"""


class PunchcardError(Exception):
    """Base of all errors that are ours. The text is for a person to act on."""


class SettingsInvalid(PunchcardError):
    """A setting, or a combination of settings, that cannot work."""


class ApiError(PunchcardError):
    """A request that ends with the documented error object.

    `status` is the HTTP status and the body's `code`; `details` says what to change.
    """

    status = 400
    key = "invalid_payload"
    message = "Invalid payload"

    def __init__(
        self,
        details: str | None = None,
        *,
        resource_id: str | None = None,
        resource_type: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(details or self.message)
        self.details = details
        self.resource_id = resource_id
        self.resource_type = resource_type
        self.headers = headers or {}


class InvalidPayload(ApiError):
    """The body does not have the documented shape; nothing of the request was stored."""


class InvalidQuery(ApiError):
    """A query parameter does not have the documented shape."""

    key = "invalid_query_params"
    message = "Invalid query params"


class Unauthorized(ApiError):
    """Keys are missing or wrong."""

    status = 401
    key = "unauthorized"
    message = "Unauthorized"


class NotFound(ApiError):
    """Nothing in this project has that id or source id."""

    status = 404
    key = "not_found"
    message = "Resource not found"

    def __init__(self, resource_type: str, resource_id: str) -> None:
        noun = resource_type.replace("_", " ")
        super().__init__(
            f"Cannot find {noun} with id {resource_id}", resource_id=resource_id, resource_type=resource_type
        )


class PayloadTooLarge(ApiError):
    """The body is larger than the configured limit. The documented body has two fields more than the others."""

    status = 413
    key = "payload_too_large"

    def __init__(self, limit_bytes: int, *, setting: str) -> None:
        self.message = f"Payload content length greater than maximum allowed: {limit_bytes}"
        super().__init__(f"The limit of this server is {limit_bytes} bytes (setting {setting})")


class Overloaded(ApiError):
    """The server holds as many request bodies as it may; the same request can go through a moment later."""

    status = 429
    key = "too_many_requests"
    message = "Too many requests hit the API too quickly."

    def __init__(self, details: str, *, retry_after_s: int = 1) -> None:
        super().__init__(details, headers={"Retry-After": str(retry_after_s)})


class Unavailable(ApiError):
    """The database does not answer; nothing of the request was stored, or its outcome is not known."""

    status = 503
    key = "service_unavailable"
    message = "Service temporarily unavailable"

    def __init__(self, details: str) -> None:
        super().__init__(details, headers={"Retry-After": "1"})


class RecordError(PunchcardError):
    """One record cannot be taken; its text becomes the reason in a bulk job's result.

    A request about this one record ends with `refusal`.
    """

    def refusal(self) -> ApiError:
        """The error that a request ends with."""
        return InvalidPayload(str(self))


class RecordMissing(RecordError):
    """A record names something by an internal id that nothing in this project has."""

    def __init__(self, resource_type: str, resource_id: str) -> None:
        self._refusal = NotFound(resource_type, resource_id)
        super().__init__(str(self._refusal))

    def refusal(self) -> ApiError:
        """A 404."""
        return self._refusal
