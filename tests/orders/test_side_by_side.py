"""The heart of it: what orders set off when they are created and updated, and what when they are imported."""

from tests.deployment import Deployment
from tests.orders import side_by_side


def test_the_page_says_what_each_way_sets_off(deployment: Deployment) -> None:
    requests = side_by_side.by_requests(deployment.new_project())
    imports = side_by_side.by_imports(deployment.new_project())
    print(side_by_side.table(requests, imports))
    stored = [what for what in requests if not what.startswith("event")]
    assert {what: requests[what] for what in stored} == {what: imports[what] for what in stored}
    assert all(imports[what] == 0 for what in imports if what.startswith("event"))
    assert all(requests[what] > 0 for what in requests)
    text = side_by_side.PAGE.read_text()
    new = side_by_side.page(text, side_by_side.table(requests, imports))
    assert text == new, "run `.venv/bin/python -m tests.orders.side_by_side`"
