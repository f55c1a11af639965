"""How deep a document is nested, told from its brackets alone."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from punchcard.http import shapes

SCALARS = st.sampled_from([1, "", "]}[{", '"\\"', None])
KEYS = st.sampled_from(["a", "[", '"}'])
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=40
)


def depth(value: Any) -> int:
    if not isinstance(value, dict | list):
        return 0
    return 1 + max(map(depth, value.values() if isinstance(value, dict) else value), default=0)


@given(VALUES, st.integers(0, 210), st.sampled_from(["[", "{", "[{"]))
def test_nesting_is_told_without_decoding(value: Any, around: int, kinds: str) -> None:
    # with so many brackets that it has to look closer
    nested: Any = [value, [[]] * (shapes.NESTING_MAX + 1)]
    for level in range(around):
        nested = [nested] if kinds[level % len(kinds)] == "[" else {"a": nested}
    assert shapes.is_nested_too_deeply(json.dumps(nested).encode()) == (depth(nested) > shapes.NESTING_MAX)
