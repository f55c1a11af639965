"""The project's own text, read for the rules: modules, imports, SQL."""

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGE = ROOT / "src" / "punchcard"
MIGRATIONS = PACKAGE / "db" / "migrations"
SQL_START = re.compile(
    r"\s*(SELECT|INSERT|UPDATE|DELETE|COPY|WITH|MERGE|SET|NOTIFY|LISTEN|CREATE|ALTER|DROP|LOCK|TRUNCATE|CALL|DO)\s"
)
COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)


class Sql(Struct, frozen=True):
    """One statement and where it stands."""

    where: str
    name: str
    text: str

    @property
    def bare(self) -> str:
        """Without its comments and the closing semicolon."""
        return COMMENT.sub("", self.text).strip().rstrip(";")


def python_files(*folders: str) -> list[Path]:
    return [file for folder in folders for file in sorted((ROOT / folder).rglob("*.py"))]


@functools.cache
def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text(), str(file))


def module_of(file: Path) -> str:
    """`punchcard.db.migrate` of its file."""
    parts = file.relative_to(ROOT / "src").with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules() -> dict[str, Path]:
    """All modules of the package by name."""
    return {module_of(file): file for file in python_files("src")}


def imports_of(file: Path) -> Iterator[str]:
    """Full names of the modules that a file imports, those inside functions and for types included."""
    known = modules()
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: a relative import"
            assert node.module is not None
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in known else node.module


def part_of(module: str) -> str:
    """The folder or file of the package that a module belongs to: `db` of `punchcard.db.migrate`."""
    return [*module.split("."), "punchcard"][1]


# ---- SQL ----


@functools.cache
def named_statements() -> tuple[Sql, ...]:
    """The statements of all `.sql` files beside modules."""
    found = []
    for file in sorted(PACKAGE.rglob("*.sql")):
        if MIGRATIONS in file.parents or file.name == "schema.sql":
            continue
        _, *parts = re.split(r"(?m)^-- name:\s*", file.read_text())
        for part in parts:
            heading, _, body = part.partition("\n")
            found.append(Sql(str(file.relative_to(ROOT)), re.split(r"[^\w]", heading)[0], body))
    return tuple(found)


def migration_statements() -> list[Sql]:
    """The statements of all migrations; a semicolon ends one."""
    return [
        Sql(str(file.relative_to(ROOT)), file.stem, text.strip())
        for file in sorted(MIGRATIONS.glob("*.sql"))
        for text in COMMENT.sub("", file.read_text()).split(";")
        if text.strip()
    ]


@functools.cache
def python_statements() -> tuple[Sql, ...]:
    """SQL written in Python, as composed: `{}` and f-string fields stand for what is filled in."""
    return tuple(sql for file in python_files("src") for sql in _composed(file))


def all_sql() -> list[Sql]:
    return [*named_statements(), *migration_statements(), *python_statements()]


def _composed(file: Path) -> Iterator[Sql]:
    tree = tree_of(file)
    constants = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    inside = _parts_of_others(tree, constants)
    for node in ast.walk(tree):
        if isinstance(node, ast.expr) and not isinstance(node, ast.Name) and id(node) not in inside:
            text = _text(node, constants)
            if text and SQL_START.match(text):
                yield Sql(f"{file.relative_to(ROOT)}:{node.lineno}", "", text)
                inside |= {id(child) for child in ast.walk(node)}


def _parts_of_others(tree: ast.Module, constants: dict[str, ast.expr]) -> set[int]:
    """Nodes that are no statement by themselves: docstrings, and constants that a composition takes in."""
    inside = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format":
            for argument in (*node.args, *(keyword.value for keyword in node.keywords)):
                if isinstance(argument, ast.Name) and argument.id in constants:
                    inside |= {id(child) for child in ast.walk(constants[argument.id])}
    return inside


def _text(node: ast.expr, constants: dict[str, ast.expr]) -> str | None:
    """The text that an expression composes, or None."""
    match node:
        case ast.Constant(value=str() as value):
            return value
        case ast.Constant(value=bytes() as raw):
            return raw.decode(errors="replace")
        case ast.JoinedStr(values=values):
            return "".join(_text(value, constants) or "{}" for value in values)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            first, second = _text(left, constants), _text(right, constants)
            return None if first is None or second is None else first + second
        case ast.Name(id=name) if name in constants:
            return _text(constants[name], {})
        case ast.Call(func=ast.Attribute(attr="SQL") | ast.Name(id="SQL"), args=[argument]):
            return _text(argument, constants)
        case ast.Call(func=ast.Attribute(value=template, attr="format"), args=arguments):
            text = _text(template, constants)
            for argument in arguments if text else []:
                filled = _text(argument, constants) if isinstance(argument, ast.Name) else None
                text = (text or "").replace("{}", filled or "\0", 1)
            return text and text.replace("\0", "{}")
    return None
