"""Rules for SQL: every statement on tenant data names its project, and stays within what can be distributed."""

import ast
import re
from collections import Counter

import pytest
import sqlglot
from sqlglot import exp

from punchcard.db.statements import Statements
from tests.house.source import (
    ROOT,
    Sql,
    all_sql,
    migration_statements,
    modules,
    named_statements,
    python_statements,
    tree_of,
)

# Statements on tenant data that do not name one project, and why they may.
OVER_ALL_PROJECTS = {
    "lanes_with_work": "finds work across projects: an unlocked list of hints that may be lost or repeated",
    "lanes_round": "finds work across projects: an unlocked list of hints that may be lost or repeated",
    "retention_projects": "finds work across projects: an unlocked list of hints that may be lost or repeated",
    "events_retention_projects": "finds work across projects: an unlocked list of hints that may be lost or repeated",
}
INDEXES_OF_HINTS = {
    "async_actions_arrivals",
    "event_outbox_arrivals",
    "segment_inbox_arrivals",
    "segment_clocks_due",
}
# Tables with a project_id that are global: they are looked up by a key that is unique across projects.
GLOBAL_TABLES = {"projects", "api_keys"}
# What an UPDATE or an ON CONFLICT of tenant data may compute in place: immutable for Citus, whatever the column.
IMMUTABLE = (
    exp.Coalesce, exp.Greatest, exp.Least, exp.Nullif, exp.Case, exp.If, exp.Cast, exp.And, exp.Or, exp.Not,
)  # fmt: skip
PROJECT = "project_id"
FILLED_IN = r"(?:\{\w*\}|%\(?\w*\)?s|:\w+)"


def created_tables() -> dict[str, exp.Schema]:
    """The tables of the migrations, parsed, by name."""
    found = {}
    for sql in migration_statements():
        if re.match(r"CREATE\s+TABLE", sql.bare, re.IGNORECASE):
            schema = _parsed(re.sub(r"\)\s*WITH\s*\([^()]*\)$", ")", sql.bare)).this
            found[schema.this.name] = schema
    return found


def tenant_tables() -> set[str]:
    return {
        name
        for name, schema in created_tables().items()
        if name not in GLOBAL_TABLES and any(column.name == PROJECT for column in schema.find_all(exp.ColumnDef))
    }


def _parsed(text: str) -> exp.Expression:
    # a parameter's type is for PostgreSQL's eyes; the parser knows parameters as names
    tree = sqlglot.parse_one(text, dialect="postgres")
    assert isinstance(tree, exp.Expression)
    return tree


def complaints(sql: str) -> list[str]:
    """The tenant tables of a statement that are read or written without one project's id."""
    tree, tenant = _parsed(sql), tenant_tables()
    wrong = []
    for table in tree.find_all(exp.Table):
        if table.name not in tenant:
            continue
        insert = table.find_ancestor(exp.Insert)
        if insert is not None and insert.find(exp.Table) is table:
            if not _writes_project(insert):
                wrong.append(f"INSERT INTO {table.name}")
        elif not _bound(table, tenant):
            wrong.append(table.name)
    return wrong


def _writes_project(insert: exp.Insert) -> bool:
    """Whether the first column written is project_id, from a parameter."""
    columns = [column.name for column in insert.this.expressions]
    if not columns or columns[0] != PROJECT:
        return False
    source = insert.expression
    first = source.expressions[0] if isinstance(source, exp.Select) else source.expressions[0].expressions[0]
    return isinstance(first, exp.Placeholder) and first.name == PROJECT


def _bound(table: exp.Table, tenant: set[str]) -> bool:
    """Whether an AND-ed condition of the table's own query equates its project_id with a parameter."""
    scope = table.find_ancestor(exp.Select, exp.Update, exp.Delete)
    assert scope is not None
    conditions = [part.this for part in scope.find_all(exp.Where) if part.parent is scope]
    conditions += [join.args["on"] for join in scope.args.get("joins") or [] if join.args.get("on")]
    alone = sum(other.name in tenant for other in scope.find_all(exp.Table) if _scope(other) is scope) == 1
    for condition in conditions:
        for part in condition.flatten() if isinstance(condition, exp.And) else [condition]:
            if isinstance(part, exp.EQ) and isinstance(part.left, exp.Column) and part.left.name == PROJECT:
                owner = part.left.table
                parameter = isinstance(part.right, exp.Placeholder) and part.right.name == PROJECT
                if parameter and (owner == table.alias_or_name or (not owner and alone)):
                    return True
    return False


def _scope(table: exp.Table) -> exp.Expression | None:
    return table.find_ancestor(exp.Select, exp.Update, exp.Delete)


@pytest.mark.parametrize("sql", named_statements(), ids=lambda sql: sql.name)
def test_every_statement_on_tenant_data_names_one_project(sql: Sql) -> None:
    found = complaints(sql.bare)
    if sql.name in OVER_ALL_PROJECTS:
        assert found, f"{sql.name} needs no exception any more"
    else:
        assert found == [], f"{sql.where} {sql.name}: project_id = :project_id is missing"


def test_sql_written_in_python_names_one_project() -> None:
    tenant = "|".join(sorted(tenant_tables()))
    for sql in python_statements():
        copied = re.match(rf"\s*COPY (?:{tenant})\b", sql.text)
        if copied:
            assert re.match(rf"\s*COPY \w+ \({PROJECT},", sql.text), f"{sql.where}: {PROJECT} comes first"
            continue
        read = re.findall(rf"\b(?:FROM|JOIN|UPDATE|INTO)\s+(?:ONLY\s+)?(?:{tenant})\b", sql.text, re.IGNORECASE)
        named = re.findall(rf"\b{PROJECT} = {FILLED_IN}", sql.text)
        assert len(named) >= len(read), f"{sql.where}: {len(read)} tenant tables, {len(named)} with {PROJECT} = …"


def test_the_rule_sees_what_it_should() -> None:
    assert complaints("SELECT 1 FROM orders WHERE id = :id") == ["orders"]
    assert complaints("SELECT 1 FROM orders WHERE project_id = :project_id OR id = :id") == ["orders"]
    assert complaints("SELECT 1 FROM orders AS o JOIN skus AS s ON true WHERE o.project_id = :project_id") == ["skus"]
    assert complaints(
        "UPDATE orders SET id = 'x' WHERE id IN (SELECT id FROM skus WHERE project_id = :project_id)"
    ) == ["orders"]
    assert complaints("DELETE FROM orders WHERE project_id = ANY(:ids)") == ["orders"]
    assert complaints("INSERT INTO lanes (lane, project_id) VALUES (:lane, :project_id)") == ["INSERT INTO lanes"]
    assert complaints("SELECT 1 FROM orders WHERE project_id = :project_id AND id = ANY(:ids)") == []


def test_keys_of_tenant_tables_begin_with_the_project() -> None:
    wrong = []
    for name, schema in created_tables().items():
        if name not in tenant_tables():
            continue
        keys = [*schema.find_all(exp.PrimaryKey), *schema.find_all(exp.UniqueColumnConstraint)]
        keys += schema.find_all(exp.ForeignKey)
        first = [next(key.find_all(exp.Identifier)).name for key in keys]
        wrong += [name for column in first if column != PROJECT]
        if not schema.find(exp.PrimaryKey):
            wrong.append(f"{name} has no primary key over {PROJECT}")
    for sql in migration_statements():
        index = re.match(r"CREATE\s+(?:UNIQUE\s+)?INDEX\s+(\w+)\s+ON\s+(\w+)\s*\((\w+)", sql.bare, re.IGNORECASE)
        if index and index[2] in tenant_tables() and index[3] != PROJECT and index[1] not in INDEXES_OF_HINTS:
            wrong.append(index[1])
    assert wrong == []


@pytest.mark.parametrize("sql", named_statements(), ids=lambda sql: sql.name)
def test_tenant_rows_are_written_with_immutable_expressions(sql: Sql) -> None:
    """Citus refuses stable and volatile functions in UPDATE … SET and ON CONFLICT DO UPDATE: compute them in FROM."""
    tree = _parsed(sql.bare)
    for update in tree.find_all(exp.Update, exp.OnConflict):
        target = update.find(exp.Table) or tree.find(exp.Table)
        assert target is not None
        if target.name not in tenant_tables():
            continue
        for assignment in update.expressions:
            functions = [f for f in assignment.find_all(exp.Func) if not isinstance(f, IMMUTABLE)]
            assert functions == [], f"{sql.name}: {functions}"


FORBIDDEN = {
    r"^\s*MERGE\b": "not distributed; and its RETURNING is newer than PostgreSQL 15",
    r"\bCREATE\s+(OR\s+REPLACE\s+)?(CONSTRAINT\s+)?TRIGGER\b": "effects flow from events, in statements one can read",
    r"\bON\s+DELETE\s+SET\s+NULL\b": "would set project_id too; refused by Citus",
    r"\bset_config\s*\(": "a session's setting outlives its transaction in a pool: SET LOCAL",
    r"^\s*SET\s+(?!LOCAL\b|CONSTRAINTS\b)": "a session's setting outlives its transaction in a pool: SET LOCAL",
    r"\btransaction_timeout\b|\buuidv7\b|\bJSON_TABLE\b|\bIS\s+JSON\b": "newer than PostgreSQL 15",
    r"\bCREATE\s+EXTENSION\b": "no extension: any PostgreSQL will do",
    r"\bALTER\s+TABLE\s.*\bADD\s+GENERATED\b": "identity columns only at CREATE TABLE",
}


@pytest.mark.parametrize("pattern", FORBIDDEN)
def test_sql_that_we_do_not_use(pattern: str) -> None:
    found = [f"{sql.where} {sql.name}" for sql in all_sql() if re.search(pattern, sql.bare, re.IGNORECASE)]
    assert found == [], FORBIDDEN[pattern]


def test_notifications_are_sent_from_one_place() -> None:
    """NOTIFY takes a lock of the whole server at commit: never in a transaction with data, so only `signals` sends."""
    users = {
        sql.where.partition(":")[0]
        for sql in all_sql()
        if re.search(r"^\s*NOTIFY\b|\bpg_notify\s*\(", sql.bare, re.IGNORECASE)
    }
    assert users == {"src/punchcard/bulk/signals.py"}


# ---- statements and their names ----


def test_names_of_statements_are_unique() -> None:
    assert [name for name, count in Counter(sql.name for sql in named_statements()).items() if count > 1] == []


def test_this_reading_of_the_files_is_the_products_reading() -> None:
    for where in {sql.where for sql in named_statements()}:
        names = [sql.name for sql in named_statements() if sql.where == where]
        read = Statements(ROOT / where)
        assert all(getattr(read, name) for name in names)


def test_every_statement_is_used_and_every_used_one_exists() -> None:
    used: dict[str, str] = {}
    for name, file in modules().items():
        for node in ast.walk(tree_of(file)):
            if isinstance(node, ast.Attribute) and _holds_statements(node.value):
                used[node.attr] = name
    exist = {sql.name for sql in named_statements()}
    assert {attribute: name for attribute, name in used.items() if attribute not in exist} == {}, "do not exist"
    assert exist - used.keys() == set(), "are not used"


def _holds_statements(node: ast.expr) -> bool:
    """`SQL`, `SQL_QUEUE`, `lanes.SQL`; not the `sql.SQL` of the driver, whose results are called."""
    name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
    return re.fullmatch(r"SQL(_[A-Z]+)?", name) is not None
