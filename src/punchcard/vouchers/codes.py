"""Voucher codes: what a `code_config` allows, and drawing from it.

A config is a pattern whose hashes are replaced with characters of a charset. All codes of a config are equally likely,
and come from the system's cryptographic source: a code is worth money, so one must tell nothing about another.

Where a project does not tell the cases apart, `Code` and `CODE` are one code. Its key, by which codes are unique, is
the code in lower case, character by character; of the characters of a charset that have one key, the first is drawn.
"""

import itertools
import os
import random
import string
from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta, Struct

from punchcard.errors import ApiError

LENGTH_DEFAULT = 8
CHARSET_DEFAULT = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
HASH = "#"
# a code is an id, and the index on it could not hold any length
CODE_LENGTH_MAX = 255
# so that one random byte draws a character
CHARSET_LENGTH_MAX = 256
# how many bytes are drawn at a time
_BLOCK_BYTES = 1 << 20

RESERVED = "neither . nor .. nor look like the id of a voucher (v_ and 32 hex digits)"
# the characters of each place
_RESERVED_FORMS: tuple[list[frozenset[str]], ...] = (
    [frozenset(".")],
    [frozenset(".")] * 2,
    [frozenset("vV"), frozenset("_"), *[frozenset(string.hexdigits)] * 32],
)

_system = random.SystemRandom()


class InvalidCodeConfig(ApiError):
    """No code, or not as many as are wanted, can be made by this config."""

    key = "invalid_code_config"
    message = "Invalid code config"


class CodeConfigIn(Struct):
    """A `code_config` as a request has it; null means absent. `initial_count` and all else is ignored."""

    length: Annotated[int, Meta(ge=1, le=CODE_LENGTH_MAX)] | None = None
    charset: str | None = None
    prefix: str | None = None
    postfix: str | None = None
    pattern: str | None = None


class CodeConfig(Struct, frozen=True):
    """A complete `code_config`, as it is stored and shown. `length` counts the hashes of the pattern."""

    length: int = LENGTH_DEFAULT
    charset: str = CHARSET_DEFAULT
    prefix: str = ""
    postfix: str = ""
    pattern: str = HASH * LENGTH_DEFAULT


def checked(given: CodeConfigIn | None, *, path: str) -> CodeConfig:
    """The config with its defaults. `path` is where it stands: `.code_config`, `.voucher.code_config`.

    The pattern overrides the length. A character that a charset holds twice is no more likely than the others.
    Raises `InvalidCodeConfig`.
    """
    if given is None:
        return CodeConfig()
    for name in ("charset", "prefix", "postfix", "pattern"):
        text = getattr(given, name)
        if text is not None and not text.isprintable():
            raise InvalidCodeConfig(f"Property {path}.{name} must have printable characters only")
    charset = CHARSET_DEFAULT if given.charset is None else "".join(dict.fromkeys(given.charset))
    if not 1 <= len(charset) <= CHARSET_LENGTH_MAX:
        raise InvalidCodeConfig(f"Property {path}.charset must have 1 to {CHARSET_LENGTH_MAX} different characters")
    pattern = given.pattern or HASH * (given.length or LENGTH_DEFAULT)
    config = CodeConfig(
        length=pattern.count(HASH),
        charset=charset,
        prefix=given.prefix or "",
        postfix=given.postfix or "",
        pattern=pattern,
    )
    if len(config.prefix) + len(pattern) + len(config.postfix) > CODE_LENGTH_MAX:
        raise InvalidCodeConfig(f"Property {path} makes codes of more than {CODE_LENGTH_MAX} characters")
    drawn = [charset if character == HASH else character for character in pattern]
    if is_reserved([*config.prefix, *drawn, *config.postfix]):
        raise InvalidCodeConfig(f"Property {path} could make a code that must be {RESERVED}")
    return config


def is_reserved(places: Sequence[str]) -> bool:
    """Whether a code that has one of some characters at each place could be `RESERVED`.

    `.` and `..` vanish from a path before it is sent; what looks like an id would be taken for that voucher.
    """
    return any(
        len(places) == len(form) and not any(map(frozenset.isdisjoint, form, places)) for form in _RESERVED_FORMS
    )


def key_of(code: str, *, case_sensitive: bool) -> str:
    """By what a code is unique in its project: itself, or itself in lower case."""
    if case_sensitive:
        return code
    if code.isascii():
        return code.lower()
    # one by one: a sigma's lower case depends on what is around it, and one letter's has two characters
    return "".join([character.lower()[0] for character in code])


def combinations(config: CodeConfig, *, case_sensitive: bool) -> int:
    """How many codes the config can make that are different in the project."""
    return int(len(_characters(config, case_sensitive=case_sensitive)) ** config.length)


def require_room(config: CodeConfig, count: int, *, case_sensitive: bool, path: str) -> None:
    """Raise `InvalidCodeConfig` unless the config can make `count` different codes."""
    possible = combinations(config, case_sensitive=case_sensitive)
    if possible < count:
        raise InvalidCodeConfig(f"Property {path} can make {possible} different codes, and {count} are wanted")


def generate(config: CodeConfig, count: int, *, case_sensitive: bool) -> list[str]:
    """`count` random codes, all different in the project, in random order. Asks no database: some may be taken.

    Raises `InvalidCodeConfig` if the config cannot make so many.
    """
    require_room(config, count, case_sensitive=case_sensitive, path=".code_config")
    characters = _characters(config, case_sensitive=case_sensitive)
    possible = len(characters) ** config.length
    if 2 * count > possible:  # few are left: numbers of codes, without replacement
        return _numbered(config, characters, _system.sample(range(possible), count))
    found: dict[str, None] = {}
    while len(found) < count:
        missing = count - len(found)
        found.update(dict.fromkeys(_filled(config, _drawn(characters, missing * config.length), missing)))
    return list(found)


def _characters(config: CodeConfig, *, case_sensitive: bool) -> str:
    """What is drawn from: one character for each key."""
    if case_sensitive:
        return config.charset
    return "".join({key_of(c, case_sensitive=False): c for c in reversed(config.charset)}.values())


def _drawn(characters: str, count: int) -> str:
    """`count` characters, all equally likely: bytes that would favour some are dropped."""
    number = len(characters)
    accepted = 256 - 256 % number
    indexes = bytes(index % number for index in range(256))
    dropped = bytes(range(accepted, 256))
    drawn: list[bytes] = []
    missing = count
    while missing:
        wanted = missing * 256 // accepted + 16  # mostly enough at once
        drawn.append(os.urandom(min(wanted, _BLOCK_BYTES)).translate(indexes, dropped)[:missing])
        missing -= len(drawn[-1])
    return b"".join(drawn).decode("latin-1").translate(dict(enumerate(characters)))


def _filled(config: CodeConfig, drawn: str, count: int) -> list[str]:
    """`count` codes whose hashes are filled with the drawn characters, from left to right."""
    columns: list[Sequence[str] | itertools.repeat[str]] = []
    place, length = 0, config.length
    text = config.prefix + config.pattern.replace(HASH, "\x00") + config.postfix
    for hashes, run in itertools.groupby(text, key=lambda character: character == "\x00"):
        piece = "".join(run)
        if hashes:
            width = len(piece)
            columns.append([drawn[at : at + width] for at in range(place, count * length, length)])
            place += width
        else:
            columns.append(itertools.repeat(piece, count))
    return ["".join(pieces) for pieces in zip(*columns, strict=True)]


def _numbered(config: CodeConfig, characters: str, numbers: Sequence[int]) -> list[str]:
    """The codes with these numbers: each number is written in the characters as digits."""
    drawn: list[str] = []
    for number in numbers:
        rest, digits = number, []
        for _ in range(config.length):
            rest, digit = divmod(rest, len(characters))
            digits.append(characters[digit])
        drawn += digits
    return _filled(config, "".join(drawn), len(numbers))
