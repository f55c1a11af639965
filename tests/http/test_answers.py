"""Every answer has a request id; every error, the framework's own included, is the documented object."""

import re

import httpx
import pytest

from tests.deployment import Project
from tests.http.refusals import refused

REQUEST_ID = re.compile(r"v-[0-9a-f]{18}")


@pytest.mark.parametrize("path", ["/v1/orders", "/healthz", "/readyz", "/docs", "/openapi.json", "/v1/nowhere", "/"])
def test_every_answer_has_a_request_id_of_its_own(project_18: Project, path: str) -> None:
    answers = [project_18.http.get(path) for _ in range(2)]
    ids = {answer.headers["x-request-id"] for answer in answers}
    assert len(ids) == 2
    assert all(REQUEST_ID.fullmatch(request_id) for request_id in ids)


def test_the_request_id_of_an_import_is_kept_with_its_action(project_18: Project) -> None:
    answer = project_18.http.post("/v1/orders/import", json=[])
    action = project_18.get(f"/v1/async-actions/{answer.json()['async_action_id']}")
    assert action["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/nowhere", "/v1/orders/a/b", "/schema", "/unused-openapi", "/docs/a/b"]
)
def test_an_unknown_path_is_a_404(project_18: Project, path: str) -> None:
    body = refused(project_18.http.get(path), 404, "resource_not_found")
    assert body["details"] == "No such path; /docs shows all that there are"


@pytest.mark.parametrize(
    ("path", "noun"),
    [
        ("/v1/orders/{}", "order"),
        ("/v1/customers/{}", "customer"),
        ("/v1/products/{}", "product"),
        ("/v1/products/{}/skus", "product"),
        ("/v1/skus/{}", "sku"),
        ("/v1/async-actions/{}", "async_action"),
        ("/v1/segments/{}", "segment"),
        ("/v1/campaigns/{}", "campaign"),
        ("/v1/vouchers/{}", "voucher"),
        ("/v1/metadata-schemas/{}", "metadata schema"),
    ],
)
@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        ("x", "x"),
        ("a%2Fb", "a/b"),
        ("%2e%2E", ".."),
        ("a%20b", "a b"),
        ("a+b", "a+b"),
        ("a%252Fb", "a%2Fb"),
        ("%F0%9F%98%80", "😀"),
        ("%00", "\x00"),
        ("a%00%2fb", "a\x00/b"),
        ("%ff", "�"),
        ("%", "%"),
        ("'%20or%201=1--", "' or 1=1--"),
        ("x" * 5000, "x" * 5000),
    ],
)
def test_an_unknown_id_is_a_404_that_names_it(project_18: Project, path: str, noun: str, sent: str, meant: str) -> None:
    body = refused(project_18.http.get(path.format(sent)), 404, "not_found")
    assert body["message"] == "Resource not found"
    assert body["details"] == f"Cannot find {noun.replace('_', ' ')} with id {meant}"
    assert (body["resource_id"], body["resource_type"]) == (meant, noun)


@pytest.mark.parametrize(
    "source_id", ["a/b", "/", "a b", "a+b", "ünïcödé 😀", "50%", "a%2Fb", "import", "?x=1", "#", ".."]
)
def test_a_source_id_may_hold_any_character(project_18: Project, source_id: str) -> None:
    project_18.imported(
        {
            "source_id": source_id,
            "customer": {"source_id": source_id},
            "items": [{"source_id": source_id, "product": {"override": True}}],
        }
    )
    quoted = "".join(f"%{byte:02X}" for byte in source_id.encode())
    for resource in ("orders", "customers", "products"):
        if (resource, source_id) != ("orders", "import"):  # that path is the import's
            assert project_18.get(f"/v1/{resource}/{quoted}")["source_id"] == source_id
    assert project_18.get(f"/v1/products/{quoted}/skus")["skus"] == []


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"])
def test_a_method_that_a_path_does_not_have_is_a_405(project_18: Project, method: str) -> None:
    answer = project_18.http.request(method, "/v1/skus/mug")
    body = refused(answer, 405, "method_not_allowed")
    assert body["message"] == "HTTP Method Not Allowed"
    assert answer.headers["allow"] == "GET, OPTIONS"
    assert body["details"] == "Allowed methods: GET, OPTIONS"


def test_head_is_refused_without_a_body(project_18: Project) -> None:
    answer = project_18.http.head("/v1/orders")
    assert (answer.status_code, answer.content) == (405, b"")
    assert REQUEST_ID.fullmatch(answer.headers["x-request-id"])


def test_the_import_path_takes_no_get(project_18: Project) -> None:
    refused(project_18.http.get("/v1/orders/import"), 405, "method_not_allowed")


@pytest.mark.parametrize(
    "accept", ["text/html", "text/*", "application/xml", "image/png", "garbage", "text/html, text/plain"]
)
def test_a_client_that_takes_no_json_gets_a_406(project_18: Project, accept: str) -> None:
    body = refused(project_18.http.get("/v1/orders", headers={"accept": accept}), 406, "not_acceptable")
    assert body["details"] == "Answers are application/json"


@pytest.mark.parametrize(
    "accept",
    ["", "*/*", "application/*", "APPLICATION/JSON", "application/json; charset=utf-8", "text/html, */*;q=0.1",
     "application/problem+json"],
)  # fmt: skip
def test_other_accept_headers_get_json(project_18: Project, accept: str) -> None:
    assert project_18.http.get("/v1/orders", headers={"accept": accept}).status_code == 200


def test_an_unacceptable_import_stores_nothing(project_18: Project) -> None:
    answer = project_18.http.post("/v1/orders/import", json=[{}], headers={"accept": "text/html"})
    refused(answer, 406, "not_acceptable")
    assert project_18.get("/v1/async-actions")["async_actions"] == []


@pytest.mark.parametrize(
    "media_type",
    ["text/plain", "text/json", "application/xml", "application/x-www-form-urlencoded",
     "multipart/form-data; boundary=x", "application/jsonx", "json", "*/*"],
)  # fmt: skip
def test_another_media_type_is_a_415(project_18: Project, media_type: str) -> None:
    answer = project_18.http.post("/v1/orders/import", content=b"[]", headers={"content-type": media_type})
    body = refused(answer, 415, "unsupported_media_type")
    assert body["details"] == f"Send the body as application/json, not as {media_type.partition(';')[0]}"


@pytest.mark.parametrize(
    "media_type",
    ["application/json", "APPLICATION/JSON", "application/json; charset=utf-8", "application/json;charset=latin-1",
     "application/json;", "application/vnd.api+json", ""],
)  # fmt: skip
def test_json_by_any_name_is_taken(project_18: Project, media_type: str) -> None:
    answer = project_18.http.post("/v1/orders/import", content=b"[]", headers={"content-type": media_type})
    assert answer.status_code == 200


@pytest.mark.parametrize("coding", ["gzip", "br", "deflate", "GZIP", "identity, gzip"])
def test_a_compressed_body_is_a_415(project_18: Project, coding: str) -> None:
    answer = project_18.http.post("/v1/orders/import", content=b"[]", headers={"content-encoding": coding})
    body = refused(answer, 415, "unsupported_media_type")
    assert body["details"].startswith("Send the body without Content-Encoding")


def test_the_identity_coding_is_none(project_18: Project) -> None:
    headers = {"content-encoding": "identity", "content-type": "application/json"}
    assert project_18.http.post("/v1/orders/import", content=b"[]", headers=headers).status_code == 200


def test_long_headers_and_urls_are_answered(project_18: Project) -> None:
    assert project_18.http.get("/v1/orders", headers={"x-long": "a" * 100_000}).status_code == 200
    assert project_18.http.get("/v1/orders?x=" + "y" * 60_000).status_code == 200


def test_an_answer_names_no_framework_and_no_trace(project_18: Project) -> None:
    answer: httpx.Response = project_18.http.get("/v1/orders/%00")
    assert "Traceback" not in answer.text
    assert "litestar" not in (answer.text + str(answer.headers)).lower()
