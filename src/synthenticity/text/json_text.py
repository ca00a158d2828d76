"""JSON lines and JSON arrays as streams of objects, each with the line that it begins in.

An array is decoded element by element while its text comes in, so that neither form is ever
whole in memory, even if all of it is one line.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

from synthenticity.errors import CorpusError
from synthenticity.text.files import lines_of, one_line

WHITE_SPACE = re.compile(r"[ \t\r\n]*")
LONGEST_WORD = 16
"""An error so near the end of what was read may be due to what was not read yet."""


def json_rows(texts: Iterator[str], where: object) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield the objects of JSON lines, or of one array if the text begins with `[`.

    >>> list(json_rows(iter(['{"a": 1}\\n', '\\n{"a": 2}']), "x"))
    [(1, {'a': 1}), (3, {'a': 2})]
    >>> list(json_rows(iter(['[{"a":', ' 1},\\n', '{"a": 2}]']), "x"))
    [(1, {'a': 1}), (2, {'a': 2})]

    Raises:
        CorpusError: broken JSON or anything but objects; names the line.

    """
    for text in texts:
        if text.strip():
            whole = chain([text], texts)
            if text.lstrip().startswith("["):
                return _Array(whole, where).rows()
            return _line_rows(whole, where)
    return iter(())


def _line_rows(texts: Iterable[str], where: object) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(lines_of(texts), 1):
        if line.strip():
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise _broken(where, number, one_line(error)) from None
            yield number, _object(value, number, where)


def _object(value: Any, line: int, where: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise CorpusError(
            f"{where}: line {line} holds {json.dumps(value)[:40]}, not an object. Write one JSON "
            'object for each document, such as {"text": "..."}.'
        )
    return value


def _broken(where: object, line: int, what: str) -> CorpusError:
    return CorpusError(f"{where}: line {line} is broken JSON ({what}). Mend or remove it.")


class _Array:
    """A cursor in the text of an array: the piece that was read, the place in it, the line."""

    def __init__(self, texts: Iterable[str], where: object) -> None:
        self.pieces = iter(texts)
        self.where = where
        self.text, self.place, self.line = "", 0, 1
        self.decode = json.JSONDecoder().raw_decode

    def rows(self) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Yield the elements."""
        self.next_character()
        self.go_to(self.place + 1)  # behind the bracket
        if self.next_character() != "]":
            yield self.element()
            while self.next_character() == ",":
                self.go_to(self.place + 1)
                self.next_character()
                yield self.element()
        found = self.next_character()
        if found != "]":
            what = f"{found!r} where a comma or ] should be" if found else "the array does not end"
            raise _broken(self.where, self.line, what)
        self.go_to(self.place + 1)
        if found := self.next_character():
            raise _broken(self.where, self.line, f"{found!r} behind the array")

    def go_to(self, place: int) -> None:
        """Move to a later place of the piece."""
        self.line += self.text.count("\n", self.place, place)
        self.place = place

    def next_character(self) -> str:
        """Move to the next character that is not white space, and return it; "" at the end."""
        while True:
            self.go_to(WHITE_SPACE.match(self.text, self.place).end())  # type: ignore[union-attr]
            if self.place < len(self.text):
                return self.text[self.place]
            self.text, self.place = next(self.pieces, ""), 0
            if not self.text:
                return ""

    def element(self) -> tuple[int, Mapping[str, Any]]:
        """Return the element that begins here, and move behind it."""
        line = self.line
        while True:
            try:
                value, end = self.decode(self.text, self.place)
                break
            except RecursionError as error:
                raise _broken(self.where, line, one_line(error)) from None
            except json.JSONDecodeError as error:
                near = error.pos >= len(self.text) - LONGEST_WORD
                more = next(self.pieces, "") if near or "Unterminated" in error.msg else ""
                if not more:
                    at = line + self.text.count("\n", self.place, error.pos)
                    raise _broken(self.where, at, error.msg) from None
                self.text, self.place = self.text[self.place :] + more, 0
        self.go_to(end)
        return line, _object(value, line, self.where)
