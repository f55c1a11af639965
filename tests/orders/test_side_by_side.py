"""The heart of it: what orders set off when they are created and updated, and what when they are imported."""

from tests.deployment import Deployment
from tests.orders import side_by_side


def test_the_page_says_what_each_way_sets_off(deployment: Deployment) -> None:
    requests = side_by_side.by_requests(deployment.new_project())
    imports = side_by_side.by_imports(deployment.new_project())
    print(side_by_side.table(requests, imports))
    same = [what for what in requests if not what.startswith("event") or "segment" in what]
    assert {what: requests[what] for what in same} == {what: imports[what] for what in same}
    loud = [what for what in requests if what.startswith("event `") and what not in same]
    assert all(imports[what] == 0 for what in loud)
    assert all(requests[what] > 0 for what in requests)
    text = side_by_side.PAGE.read_text()
    new = side_by_side.page(text, side_by_side.table(requests, imports))
    assert text == new, "run `.venv/bin/python -m tests.orders.side_by_side`"
