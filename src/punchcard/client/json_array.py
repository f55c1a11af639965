"""Finds the elements of a JSON array of any size, holding one element at a time.

Only strings, brackets and top-level commas matter for the boundaries, so three regular expressions do the
work and the elements are parsed by whoever wants them. All of these are ASCII bytes, which never occur
inside a UTF-8 sequence: the scan is on bytes, and a chunk may end anywhere.
"""

import re
from collections.abc import Callable, Iterator

from punchcard.errors import PunchcardError

_CHUNK_BYTES = 256 * 1024
_SPACE = b" \t\r\n"

# Each passes over everything up to the next character that can matter; a string or object that the chunk cuts
# stops the match before it. Innermost objects are passed over whole: that more than halves the time.
_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_FLAT = rb'[^"\[\]{}]*+(?:' + _STRING + rb'[^"\[\]{}]*+)*+'
_TOP = re.compile(rb'[^"\[\]{},]*+(?:' + _STRING + rb'[^"\[\]{},]*+)*+', re.DOTALL)
_NESTED = re.compile(rb'[^"\[\]{}]*+(?:(?:' + _STRING + rb"|\{" + _FLAT + rb'\})[^"\[\]{}]*+)*+', re.DOTALL)
_STRING_REST = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)


class ArrayBroken(PunchcardError):
    """The text stops being one JSON array; nothing behind this point can be told apart."""


class _Scanner:
    """Where in the array the scan stands; survives the end of a chunk."""

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = False

    def boundary(self, buffer: bytes, at: int) -> tuple[int, bool]:
        """(position, True) of the next top-level comma or closing bracket, or (how far it got, False)."""
        while True:
            if self._in_string:
                at = _end(_STRING_REST, buffer, at)
                if buffer[at : at + 1] != b'"':  # the chunk ends inside the string, perhaps behind a backslash
                    return at, False
                self._in_string = False
                at += 1
            at = _end(_NESTED if self._depth else _TOP, buffer, at)
            match buffer[at : at + 1]:
                case b"":
                    return at, False
                case b'"':
                    self._in_string = True
                case b"[" | b"{":
                    self._depth += 1
                case _ if self._depth == 0:
                    return at, True
                case _:
                    self._depth -= 1
            at += 1


def _end(pattern: re.Pattern[bytes], buffer: bytes, at: int) -> int:
    found = pattern.match(buffer, at)
    assert found is not None, "these patterns match the empty string"
    return found.end()


def elements(read: Callable[[int], bytes], limit: int) -> Iterator[bytes | None]:
    """The raw elements in order; None stands for one of more than `limit` bytes, which is never held whole.

    An element is not parsed, it can be empty or malformed. Raises `ArrayBroken` where the array itself is.
    """
    buffer = _opened(read)
    scanner = _Scanner()
    start = at = count = 0
    too_long = False
    while True:
        at, found = scanner.boundary(buffer, at)
        if not found:
            too_long = too_long or at - start > limit
            start = at if too_long else start
            if not (chunk := read(_CHUNK_BYTES)):
                raise ArrayBroken("the file ends before the array does")
            buffer, at, start = buffer[start:] + chunk, at - start, 0
            continue
        element, end = buffer[start:at].strip(_SPACE), buffer[at : at + 1]
        if too_long or element or count or end == b",":  # `[]` has no element
            yield None if too_long or len(element) > limit else element
        if end != b",":
            break
        start = at = at + 1
        count, too_long = count + 1, False
    if end != b"]":
        raise ArrayBroken(f"the array is closed by {end.decode()}")
    _refuse_rest(read, buffer[at + 1 :])


def _opened(read: Callable[[int], bytes]) -> bytes:
    """What follows the opening bracket."""
    while chunk := read(_CHUNK_BYTES):
        if inside := chunk.lstrip(_SPACE):
            if not inside.startswith(b"["):
                raise ArrayBroken("the file does not begin with [")
            return inside[1:]
    raise ArrayBroken("the file is empty")


def _refuse_rest(read: Callable[[int], bytes], rest: bytes) -> None:
    while not rest.strip(_SPACE):
        if not (rest := read(_CHUNK_BYTES)):
            return
    raise ArrayBroken("something follows the end of the array")
