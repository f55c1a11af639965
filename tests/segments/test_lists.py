"""Segments by requests: the list, and what is not there."""

import pytest

from tests.customers.writing import post
from tests.deployment import Project
from tests.http.listing import by_pages
from tests.http.refusals import refused
from tests.segments.placed import (
    LONDONERS,
    PARISIANS,
    active,
    all_placed,
    changed,
    made,
    people,
    segment,
    segments_of,
    verified,
)


def test_an_unknown_segment_is_a_404(project_18: Project) -> None:
    for segment_id in ("seg_1", "%00", "a%2Fb"):
        for method in ("GET", "PUT", "DELETE"):
            answer = project_18.http.request(method, f"/v1/segments/{segment_id}", json={"name": "T"})
            assert refused(answer, 404, "not_found")["resource_type"] == "segment"
        answer = project_18.http.get("/v1/customers", params={"segment_id": "seg_1"})
        assert refused(answer, 404, "not_found")["resource_type"] == "segment"


def test_a_project_without_segments(project: Project) -> None:
    listed = project.get("/v1/segments")
    assert listed == {"object": "list", "data_ref": "data", "data": [], "segments": [], "total": 0, "has_more": False}
    post(project, source_id="ann")
    all_placed(project)
    assert segments_of(project, "ann") == []
    assert segments_of(project, "nobody") == []
    verified(project)


def test_the_list_shows_what_each_shows(project: Project) -> None:
    (ann,) = people(project, "ann")
    ids = [
        made(project, name="A", customers=[ann])["id"],
        active(project, name="B"),
        segment(project, filter=PARISIANS),
    ]
    changed(project, ids[2], name="C")
    listed = project.get("/v1/segments", order="created_at")
    assert listed.keys() == {"object", "data_ref", "data", "segments", "total", "has_more"}
    assert (listed["object"], listed["data_ref"], listed["total"], listed["has_more"]) == ("list", "data", 3, False)
    assert listed["data"] == listed["segments"]
    alone = [project.get(f"/v1/segments/{one}") for one in ids]
    for one in (*listed["data"], *alone):
        del one["summary"]["right_until"]  # which goes on
    assert listed["data"] == alone
    assert [(one["name"], one["summary"]["members"]) for one in alone] == [("A", 1), ("B", 1), ("C", 0)]


def test_lists_are_paged_and_ordered(project: Project) -> None:
    ids = [made(project, name=f"S{n}", customers=[])["id"] for n in range(7)]
    for order, expected in ((None, ids[::-1]), ("-created_at", ids[::-1]), ("created_at", ids)):
        query = {} if order is None else {"order": order}
        for limit in (1, 3, 7, 100):
            assert [one["id"] for one in by_pages(project, "/v1/segments", limit=limit, **query)] == expected
    assert [one["id"] for one in project.get("/v1/segments")["data"]] == ids[::-1]
    beyond = project.get("/v1/segments", limit=7, page=2)
    assert (beyond["data"], beyond["total"], beyond["has_more"]) == ([], 7, False)


@pytest.mark.parametrize(
    ("query", "key"),
    [
        ("limit=0", "invalid_query_params"),
        ("limit=101", "invalid_query_params"),
        ("page=0", "invalid_query_params"),
        ("page=101", "page_over_limit"),
        ("order=name", "invalid_query_params"),
        ("filters[filter][conditions][$is]=x", "invalid_query_params"),
        ("filters[name][conditions][$more_than]=1", "invalid_query_params"),
        ("filters[created_at][conditions][$before]=soon", "invalid_query_params"),
        ("filters[junction]=xor", "invalid_query_params"),
        ("filters[name]=x", "invalid_query_params"),
        ("ids[]=%00", "invalid_query_params"),
    ],
)
def test_lists_that_mean_nothing(project_18: Project, query: str, key: str) -> None:
    refused(project_18.http.get(f"/v1/segments?{query}"), 400, key)


def test_lists_are_filtered(project_18: Project) -> None:
    for name in ("gold", "golden", "silver"):
        made(project_18, name=name, customers=[])
    made(project_18, name="gold", filter=LONDONERS)
    made(project_18, name="new", type="auto-update", filter=LONDONERS)
    everything = project_18.get("/v1/segments", order="created_at")["data"]
    ids = [one["id"] for one in everything]
    at = [one["created_at"] for one in everything]
    for query, expected in {
        f"ids[]={ids[1]}": [1],
        f"ids[]={ids[3]}&ids[]={ids[0]}&ids[]=seg_1": [0, 3],
        f"ids={ids[2]}": [2],
        f"ids[0]={ids[2]}&ids[1]={ids[4]}": [2, 4],
        f"ids=['{ids[2]}', '{ids[4]}']": [2, 4],
        "ids[]=seg_1": [],
        f"filters[id][conditions][$in][0]={ids[0]}&filters[id][conditions][$in][1]={ids[1]}": [0, 1],
        "filters[name][conditions][$is]=gold": [0, 3],
        "filters[name][conditions][$is][0]=gold": [0, 3],
        "filters[name][conditions][$starts_with]=gold": [0, 1, 3],
        "filters[name][conditions][$contains]=l": [0, 1, 2, 3],
        "filters[name][conditions][$is_not]=gold": [1, 2, 4],
        "filters[type][conditions][$is]=static": [0, 1, 2],
        "filters[type][conditions][$in]=passive&filters[type][conditions][$in]=auto-update": [3, 4],
        "filters[name][conditions][$is]=gold&filters[type][conditions][$is]=passive": [3],
        "filters[name][conditions][$is]=gold&filters[junction]=OR&filters[type][conditions][$is]=passive": [0, 3],
        "filters[name][conditions][$is]=new&filters[junction]=or&filters[type][conditions][$is]=passive": [3, 4],
        f"filters[created_at][conditions][$before]={at[2]}": [0, 1],
        f"filters[created_at][conditions][$after][0]={at[2]}": [3, 4],
        f"created_at[after]={at[0]}&created_at[before]={at[3]}": [1, 2],
        f"[created_at][before]={at[1]}": [0],
        "filters[created_at][conditions][$before]=": [0, 1, 2, 3, 4],
        f"filters[type][conditions][$is]=static&ids[]={ids[3]}": [],
    }.items():
        for order in ("created_at", "-created_at"):
            listed = project_18.call("GET", f"/v1/segments?{query}&order={order}")
            wanted = [ids[no] for no in expected][:: 1 if order == "created_at" else -1]
            assert [one["id"] for one in listed["data"]] == wanted, query
            assert (listed["total"], listed["has_more"]) == (len(wanted), False), query
            first = project_18.call("GET", f"/v1/segments?{query}&order={order}&limit=1")
            assert [one["id"] for one in first["segments"]] == wanted[:1], query
            assert (first["total"], first["has_more"]) == (len(wanted), len(wanted) > 1), query
    # as lists are paged through by their dates
    walked: list[str] = []
    before = ""
    while found := project_18.call("GET", f"/v1/segments?limit=2&filters[created_at][conditions][$before]={before}")[
        "data"
    ]:
        walked += [one["id"] for one in found]
        before = found[-1]["created_at"]
    assert walked == ids[::-1]
