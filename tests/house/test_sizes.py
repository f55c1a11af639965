"""Sizes and names that keep the code readable."""

import ast

from tests.house.source import PACKAGE, ROOT, python_files, tree_of

FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70
CODE = ("src", "tests", "benchmarks")
# names that say nothing about what is inside, and so collect everything
VAGUE = {"utils", "util", "common", "services", "service", "managers", "manager", "helpers", "helper", "misc"}


def test_files_have_at_most_500_lines() -> None:
    files = [*python_files(*CODE), *PACKAGE.rglob("*.sql")]
    sizes = {str(file.relative_to(ROOT)): len(file.read_text().splitlines()) for file in files}
    assert {name: size for name, size in sizes.items() if size > FILE_LINES_MAX and "schema.sql" not in name} == {}


def test_functions_have_at_most_70_lines() -> None:
    long = []
    for file in python_files(*CODE):
        for node in ast.walk(tree_of(file)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
                lines = node.end_lineno - node.lineno + 1
                if lines > FUNCTION_LINES_MAX:
                    long.append((str(file.relative_to(ROOT)), node.name, lines))
    assert long == []


def test_no_module_has_a_vague_name() -> None:
    names = {part for file in python_files(*CODE) for part in file.relative_to(ROOT).with_suffix("").parts}
    assert names & VAGUE == set()


def test_every_module_says_what_it_is_for() -> None:
    files = [file for file in python_files(*CODE) if file.read_text().strip()]
    assert [str(file.relative_to(ROOT)) for file in files if not ast.get_docstring(tree_of(file))] == []
