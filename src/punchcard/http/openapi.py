"""OpenAPI 3.1 from the code, and an interactive page that works offline.

Litestar derives the description from handlers and structs. Bodies that we read ourselves are added from
the same structs, and the framework's validation errors are replaced by the documented error object.
"""

import importlib.util
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
from litestar import Litestar, Request, Response, get
from litestar.di import Provide
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.spec import Components, OAuthFlow, OAuthFlows, SecurityScheme, Server
from msgspec import Struct

from punchcard import __version__
from punchcard.errors import NotFound
from punchcard.http.answers import API_PREFIX, Error, PayloadTooLargeError
from punchcard.http.authentication import authenticated_project

SCOPES = (
    "api", "assets", "async-actions", "campaigns", "categories", "client_api", "client_consents", "client_customers",
    "client_events", "client_promotions", "client_publish", "client_qualifications", "client_redeem",
    "client_redemptions", "client_validate", "client_validations", "client_vouchers", "consents", "customers",
    "events", "exports", "locations", "loyalties", "metadata-schemas", "orders", "product-collections", "products",
    "promotions", "publications", "qualifications", "redemptions", "referrals", "rewards", "segments", "skus",
    "task-results", "templates", "trash-bin", "validation-rules-assignments", "validation-rules", "validations",
    "vouchers",
)  # fmt: skip
KEYS: dict[str, list[str]] = {"X-App-Id": [], "X-App-Token": []}
ERROR_STATUSES = {
    "400": "The request does not have the documented shape; `details` names the path of what is wrong.",
    "401": "The keys are missing or wrong.",
    "404": "Nothing in this project has that id.",
    "405": "The path exists, the method does not.",
    "406": "The client accepts no JSON.",
    "408": "The client stopped sending in the middle of its body.",
    "409": "The Idempotency-Key stands for another request, or for one that is still under way.",
    "410": "What was kept has been deleted since: its time was over.",
    "413": "The body is larger than the server's limit.",
    "415": "The body is not JSON.",
    "429": "The server holds as many request bodies as it may; `Retry-After` says when to come again.",
    "503": "The database does not answer.",
}
_DELETED_IN_TIME = "/failures.jsonl"
_BODY_STATUSES = frozenset({"408", "413", "415", "429"})
_RETRIED_STATUSES = frozenset({"409", "429", "503"})
_TEXT = {"schema": {"type": "string"}}
_REQUEST_ID = {"X-Request-Id": {"description": "The id of this request; support asks for it.", **_TEXT}}
_RETRY_AFTER = {"Retry-After": {"description": "Seconds until the request is worth sending again.", **_TEXT}}


def _config(*, public_url: str) -> OpenAPIConfig:
    """What the description says about the server as a whole."""
    key = {"type": "apiKey", "security_scheme_in": "header"}
    return OpenAPIConfig(
        title="Punchcard API",
        version=__version__,
        description="A self-hosted promotion and loyalty engine that speaks the Voucherify v1 API.",
        # relative unless told otherwise: a page that was opened under another name of this host may call us too
        servers=[Server(url=public_url or "/")],
        security=[KEYS, {"X-Voucherify-OAuth": ["api"]}],
        components=Components(
            security_schemes={
                "X-App-Id": SecurityScheme(name="X-App-Id", **key),  # type: ignore[arg-type]
                "X-App-Token": SecurityScheme(name="X-App-Token", **key),  # type: ignore[arg-type]
                "X-Voucherify-OAuth": SecurityScheme(
                    type="oauth2",
                    flows=OAuthFlows(
                        client_credentials=OAuthFlow(
                            token_url=f"{public_url}/v1/oauth/token",
                            scopes={scope: f"Everything under {scope}." for scope in SCOPES},
                        )
                    ),
                ),
            }
        ),
        use_handler_docstrings=True,
    )


class Body(Struct, frozen=True):
    """A body that a handler reads itself: its type, and an example for the page to offer."""

    type: Any
    example: Any
    required: bool = True
    media_type: str = "application/json"


def document(handlers: Sequence[Any], bodies: Mapping[str, Body], *, public_url: str) -> dict[str, Any]:
    """The description as a JSON object. `bodies` maps operation ids to the bodies we read ourselves.

    It is taken from an application that is made for it and never served: the framework would add pages of
    its own, which load their scripts from elsewhere.
    """
    described = Litestar(
        route_handlers=handlers,
        dependencies={"project": Provide(authenticated_project)},
        openapi_config=_config(public_url=public_url),
    )
    description: dict[str, Any] = _with_any_of(described.openapi_schema.to_schema())
    (_, _, *body_schemas), components = msgspec.json.schema_components(
        [Error, PayloadTooLargeError, *(body.type for body in bodies.values())],
        ref_template="#/components/schemas/{name}",
    )
    schemas = description.setdefault("components", {}).setdefault("schemas", {})
    schemas.update(components)
    by_operation = {
        name: {"schema": schema, "example": body.example}
        for (name, body), schema in zip(bodies.items(), body_schemas, strict=True)
    }
    for path, methods in description["paths"].items():
        for operation in methods.values():
            if operation["operationId"] in by_operation:
                content, body = by_operation[operation["operationId"]], bodies[operation["operationId"]]
                operation["requestBody"] = {"required": body.required, "content": {body.media_type: content}}
            _describe(operation)
            _describe_errors(operation, path)
    return description


def _with_any_of(part: Any) -> Any:
    """The description with `anyOf` for each `oneOf`, which says that a value must not fit two of the schemas.

    The framework writes `oneOf` for every union, also for the one of anything and null.
    """
    if isinstance(part, dict):
        return {"anyOf" if name == "oneOf" else name: _with_any_of(value) for name, value in part.items()}
    return [_with_any_of(value) for value in part] if isinstance(part, list) else part


def _describe(operation: dict[str, Any]) -> None:
    """The first line of the handler's docstring is the summary, the rest the description."""
    summary, _, description = operation.pop("description").partition("\n")
    operation["summary"] = summary.rstrip(".")
    if description.strip():
        operation["description"] = description.strip()


def _describe_errors(operation: dict[str, Any], path: str) -> None:
    if path.startswith(API_PREFIX):
        declared = [status for status in operation["responses"] if not status.startswith("2")]
        for status in declared:
            del operation["responses"][status]
        for status, description in ERROR_STATUSES.items():
            if status in _BODY_STATUSES and "requestBody" not in operation:
                continue
            if status == "404" and "{" not in path and status not in declared:
                continue
            if status == "409" and not _has_parameter(operation, "Idempotency-Key"):
                continue
            if status == "410" and not path.endswith(_DELETED_IN_TIME):
                continue
            shape = PayloadTooLargeError if status == "413" else Error
            content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{shape.__name__}"}}}
            operation["responses"][status] = {"description": description, "content": content}
    for status, response in operation["responses"].items():
        response["headers"] = _REQUEST_ID | (_RETRY_AFTER if status in _RETRIED_STATUSES else {})


def _has_parameter(operation: dict[str, Any], name: str) -> bool:
    return any(parameter["name"].lower() == name.lower() for parameter in operation.get("parameters", ()))


# ---- the page ----------------------------------------------------------------------------------

_PACKAGE = "swagger_ui"
_ASSET_TYPES = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "favicon-32x32.png": "image/png",
}
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Punchcard API</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="/docs/swagger-ui.css"><link rel="icon" href="/docs/favicon-32x32.png"></head>
<body><div id="page"></div><script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/page.js"></script></body></html>
"""
_SCRIPT = """SwaggerUIBundle({url: "/openapi.json", dom_id: "#page", deepLinking: true, persistAuthorization: true,
  validatorUrl: null, tryItOutEnabled: true});
"""


@get("/docs", include_in_schema=False)
async def get_docs() -> Response[str]:
    """The interactive page."""
    return Response(_PAGE, media_type="text/html")


@get("/docs/{page:str}", include_in_schema=False)
async def get_docs_asset(page: str) -> Response[bytes]:
    """The page's script and style, from the installed package."""
    if page == "page.js":
        return Response(_SCRIPT.encode(), media_type="text/javascript")
    if page not in _ASSET_TYPES:
        raise NotFound("page", page)
    return Response(_asset(page), media_type=_ASSET_TYPES[page])


@get("/openapi.json", include_in_schema=False)
async def get_openapi(request: Request) -> Response[bytes]:  # type: ignore[type-arg]
    """The description."""
    return Response(request.app.state.openapi_json(), media_type="application/json")


@lru_cache(maxsize=8)
def _asset(name: str) -> bytes:
    package = importlib.util.find_spec(_PACKAGE)  # found, not imported: only its files are wanted
    assert package is not None
    assert package.origin is not None
    return (Path(package.origin).parent / "static" / name).read_bytes()


ROUTES = [get_docs, get_docs_asset, get_openapi]
