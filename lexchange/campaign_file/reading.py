"""Reading mappings and lists of a campaign file: where a value stands, and what to say when it is something else.

A reader takes a Value and returns what it means or raises Unreadable. A Section reads a mapping key by key, keeps what
its readers raise and goes on, so that one run finds every problem.
"""

import difflib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import NamedTuple, TypeVar

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from lexchange.campaign_file.document import Problem

T = TypeVar("T")
D = TypeVar("D")

SHOWN_CHARACTERS = 60
SUGGESTIONS = 100  # problems after which none is looked for
SECRET_KEYS = {"keys", "headers", "auth"}  # nothing below them is repeated in a problem


class LinesNeeded(Exception):
    """There is a problem to tell in a file that was read without its lines."""


class Unreadable(Exception):
    """A value is not what its place needs; `text` says what was expected."""

    def __init__(self, value: "Value", text: str) -> None:
        super().__init__(text)
        self.value = value
        self.text = text


@dataclass(frozen=True, slots=True)
class Origin:
    """The file that values come from, and the problems found so far."""

    file: str
    problems: list[Problem]


class Value(NamedTuple):
    """A node and its place: the key or the index it has in its parent. `mark` is the node whose line is named."""

    node: Node
    mark: Node
    origin: Origin
    parent: "Value | None" = None
    key: str | int = ""

    @property
    def line(self) -> int:
        """Counted from 1; that of the key, where there is one. Raises LinesNeeded."""
        if self.mark.start_mark is None:
            raise LinesNeeded
        return self.mark.start_mark.line + 1

    @property
    def path(self) -> str:
        """`buyers[0].ping.fields["lead.zip"]`; empty for a campaign itself."""
        if self.parent is None:
            return ""
        if isinstance(self.key, int):
            return f"{self.parent.path}[{self.key}]"
        if not re.fullmatch(r"[\w-]+", self.key):
            return f"{self.parent.path}[{json.dumps(cut(self.key), ensure_ascii=False)}]"
        return f"{self.parent.path}.{cut(self.key)}".removeprefix(".")

    @property
    def place(self) -> str:
        """`file:line`."""
        return f"{self.origin.file}:{self.line}"

    @property
    def bare(self) -> "Value":
        """Its place alone: who remembers that does not keep all that stands there, and around it."""
        return Value(self.mark, self.mark, self.origin)

    def report(self, text: str) -> None:
        """Keep a problem with this value and go on."""
        path = self.path
        text = f"{path}: {text}" if path else text
        self.origin.problems.append(Problem(file=self.origin.file, line=self.line, text=text))


Reader = Callable[[Value], T]


def attempt(value: Value, read: Reader[T], stand_in: D) -> T | D:
    """What the reader makes of the value; when it cannot, the problem is kept and `stand_in` returned.

    A stand-in never gets further than this file: a problem anywhere refuses the configuration.
    """
    try:
        return read(value)
    except Unreadable as error:
        error.value.report(error.text)
        return stand_in


class Section:
    """A mapping being read, key by key. Leaving the `with` block reports the keys that nobody asked for."""

    __slots__ = ("_known", "_refused", "_values", "value")

    def __init__(self, value: Value) -> None:
        self.value = value
        self._values = entries(value)
        self._known: set[str] = set()
        self._refused: set[str] = set()

    def __enter__(self) -> "Section":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._known.issuperset(self._values):
            return
        for key in self._values.keys() - self._known - self._refused:
            value = self._values[key]
            value.report(f"unknown key{did_you_mean(value, key, self._known) or self._list_known()}")

    def _list_known(self) -> str:
        return f"; known here: {', '.join(sorted(self._known))}"

    def find(self, key: str) -> Value | None:
        """The value at a key, unread; None without it."""
        self._known.add(key)
        return self._values.get(key)

    def take(self, key: str, read: Reader[T], default: D) -> T | D:
        """The meaning of an optional key."""
        self._known.add(key)
        value = self._values.get(key)
        if value is None:
            return default
        try:  # attempt(), without its call: this is the busiest line of a large configuration
            return read(value)
        except Unreadable as error:
            error.value.report(error.text)
            return default

    def need(self, key: str, read: Reader[T], stand_in: D) -> T | D:
        """The meaning of a required key; the stand-in when it is missing or wrong, which is reported."""
        value = self.find(key)
        if value is None:
            self.value.report(f"missing key {key}")
            return stand_in
        return attempt(value, read, stand_in)

    def refuse(self, key: str, why: str) -> None:
        """Report a key that has its place elsewhere, or does not fit the others."""
        self._refused.add(key)
        if key in self._values:
            self._values[key].report(why)

    def has_only(self, key: str) -> bool:
        """Whether this key is there and no other."""
        return len(self._values) == 1 and key in self._values

    def given(self, *keys: str) -> list[str]:
        """Which of the keys are there."""
        self._known.update(keys)
        return [key for key in keys if key in self._values]


def entries(value: Value) -> dict[str, Value]:
    """The values of a mapping by key, `<<` merged in; reports keys that are no text or given twice."""
    if not isinstance(value.node, MappingNode):
        raise Unreadable(value, f"expected a mapping; {got(value)}")
    origin = value.origin
    found: dict[str, Value] = {}
    merged: list[Value] = []
    for key_node, node in value.node.value:
        if not isinstance(key_node, ScalarNode):
            Value(key_node, key_node, origin, value, "?").report("expected a text as key")
            continue
        key = key_node.value
        child = Value(node, key_node, origin, value, key)
        if key == "<<" and is_plain(key_node):
            merged.append(child)
        elif found.setdefault(key, child) is not child:
            child.report(f"key given twice, first on line {found[key].line}")
    for mapping in _merged_mappings(merged):
        for key, inherited in entries(mapping).items():
            found.setdefault(key, inherited._replace(parent=value))
    return found


def _merged_mappings(merged: Iterable[Value]) -> Iterator[Value]:
    for value in merged:
        if isinstance(value.node, SequenceNode):
            yield from items(value)
        else:
            yield value


def items(value: Value) -> list[Value]:
    """The values of a list."""
    if not isinstance(value.node, SequenceNode):
        raise Unreadable(value, f"expected a list; {got(value)}")
    return [Value(node, node, value.origin, value, index) for index, node in enumerate(value.node.value)]


class _Nothing:
    """Stands for a value of a list that could not be read."""


_NOTHING = _Nothing()


def list_of(read: Reader[T], *, at_least: int = 1) -> Reader[tuple[T, ...]]:
    """A list, each of its values read alike; every wrong one is reported."""

    def read_list(value: Value) -> tuple[T, ...]:
        values = items(value)
        if len(values) < at_least:
            raise Unreadable(value, f"expected a list of at least {at_least}; got {len(values) or 'none'}")
        meanings = [attempt(each, read, _NOTHING) for each in values]
        return tuple(meaning for meaning in meanings if not isinstance(meaning, _Nothing))

    return read_list


def once_each(read: Reader[T]) -> Reader[tuple[T, ...]]:
    """A list without repetitions."""
    read_list = list_of(read)

    def read_once_each(value: Value) -> tuple[T, ...]:
        meanings = read_list(value)
        if len(set(meanings)) < len(meanings):
            twice = next(meaning for meaning, count in Counter(meanings).items() if count > 1)
            raise Unreadable(value, f"expected each once; got {twice!r} twice")
        return meanings

    return read_once_each


def did_you_mean(value: Value, name: str, known: Iterable[str]) -> str:
    """`, did you mean mode?` for a known name that is near; nothing after very many problems, as looking takes time."""
    if len(value.origin.problems) > SUGGESTIONS or len(name) > SHOWN_CHARACTERS:
        return ""
    near = difflib.get_close_matches(name, sorted(known), n=1)
    return f", did you mean {near[0]}?" if near else ""


def got(value: Value) -> str:
    """`got 'higest_bid'`, shortened; only the kind of value where a secret may stand."""
    node = value.node
    if isinstance(node, MappingNode):
        return "got a mapping"
    if isinstance(node, SequenceNode):
        return "got a list"
    if is_null(node):
        return "got nothing"
    if _is_secret(value):
        return "got a text that is not shown"
    return f"got {cut(node.value)!r}"


def cut(text: str) -> str:
    """A text as long as a problem may show."""
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 1]}…"


def _is_secret(value: Value | None) -> bool:
    while value is not None:
        if value.key in SECRET_KEYS:
            return True
        value = value.parent
    return False


def is_mapping(value: Value) -> bool:
    """Whether the value is a mapping, where a text may stand too."""
    return isinstance(value.node, MappingNode)


def is_list(value: Value) -> bool:
    """Whether the value is a list, where a single one may stand too."""
    return isinstance(value.node, SequenceNode)


def is_plain(node: Node) -> bool:
    """Whether a scalar is written without quotes and is no block."""
    return isinstance(node, ScalarNode) and not node.tag and node.style not in _QUOTES


def is_null(node: Node) -> bool:
    """Whether a scalar is YAML's nothing."""
    return node.value in _NULLS and is_plain(node)


_QUOTES = ("'", '"', "|", ">")
_NULLS = ("", "~", "null", "Null", "NULL")
