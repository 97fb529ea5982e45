"""Formats: how mapped values become the bytes of a request. One entry of FORMATS each.

Pure. Values are data to the last moment and encoded once, so that none can become markup, a second key or a second
parameter. Whether the paths fit the format is checked when the configuration is compiled.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, TypeAlias
from urllib.parse import quote_plus

import orjson

from lexchange.buyers.documents import Value, scalar_text
from lexchange.buyers.mapping import Mapped, UnmappableLead
from lexchange.buyers.paths import Path, parse_path
from lexchange.buyers.xml_format import compile_xml
from lexchange.campaign import BodyFormat

Encode: TypeAlias = Callable[[Mapped], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """How requests of one format are written. `compile` takes all paths that may come, in their order."""

    content_type: str
    compile: Callable[[Sequence[str]], Encode]
    is_in_query: bool = False  # the values go into the URL and there is no body


def compile_format(body_format: BodyFormat, paths: Sequence[str]) -> Encode:
    """A function that writes mapped values; raises ValueError when the paths do not fit the format or each other.

    The function raises UnmappableLead for a value that the format cannot carry.
    """
    if len(set(paths)) < len(paths):
        twice = next(path for path in paths if paths.count(path) > 1)
        raise ValueError(f"{twice}: expected once, got twice")
    return FORMATS[body_format].compile(paths)


# ------------------------------------------------------------------------------------------------------------ json


@dataclass(slots=True)
class _Node:
    """A place in the request's tree: an object, an array, or the value of a path."""

    path: str = ""
    children: dict[str | int, "_Node"] = field(default_factory=dict)


_Build: TypeAlias = Callable[[Mapping[str, Any]], Any]


def _compile_json(paths: Sequence[str]) -> Encode:
    parsed = [parse_path(path) for path in paths]
    if all(path.keys == (path.text,) for path in parsed):
        return lambda mapped: _dump(dict(mapped), mapped)
    root = _Node()
    for path in parsed:
        _place(root, path)
    build = _compile_node(root)
    empty: object = [] if isinstance(next(iter(root.children)), int) else {}
    skeleton, order = _skeleton(build, paths)
    dumps = orjson.dumps

    def encode(mapped: Mapped) -> bytes:
        """Where all values came, as mostly, they are put between what the configuration alone makes of the rest."""
        if len(mapped) < len(order):
            built = build(dict(mapped))
            return _dump(empty if built is None else built, mapped)
        pieces = skeleton.copy()
        try:
            pieces[1::2] = [dumps(mapped[place][1], _dump_decimal) for place in order]
        except TypeError as error:
            raise _undumpable(mapped) from error
        return b"".join(pieces)

    return encode


def _skeleton(build: "_Build", paths: Sequence[str]) -> tuple[list[bytes], list[int]]:
    """The document with a gap at each odd place, and which path's value each gap takes."""
    gaps = {path: orjson.Fragment(b"\0%d\0" % place) for place, path in enumerate(paths)}  # no JSON holds a NUL
    pieces = orjson.dumps(build(gaps)).split(b"\0")
    return pieces, [int(place) for place in pieces[1::2]]


def _place(root: _Node, path: Path) -> None:
    """Grow the tree by one path; raises ValueError when it runs through another's value or mixes names and indexes."""
    node = root
    for key in path.keys:
        if node.path:
            raise ValueError(f"{path.text}: expected no fields below {node.path}, which has a value")
        if any(isinstance(other, int) != isinstance(key, int) for other in node.children):
            raise ValueError(f"{path.text}: expected either names or indexes in one place, not both")
        if isinstance(key, int) and key > len(node.children):
            raise ValueError(f"{path.text}: expected index [{len(node.children)}] first")
        node = node.children.setdefault(key, _Node())
    if node.children:
        raise ValueError(f"{path.text}: expected no value where other paths have fields")
    if node.path:
        raise ValueError(f"{path.text}: expected once, it is the same as {node.path}")
    node.path = path.text


def _compile_node(node: _Node) -> _Build:
    """A function that builds the node's part; None when none of its values came. Arrays close their gaps."""
    if node.path:
        path = node.path
        return lambda found: found.get(path)
    parts = tuple((key, _compile_node(child)) for key, child in node.children.items())
    is_array = isinstance(parts[0][0], int)

    def build(found: Mapping[str, Any]) -> list[Any] | dict[str | int, Any] | None:
        built = {}
        for key, build_part in parts:
            part = build_part(found)
            if part is not None:
                built[key] = part
        if not built:
            return None
        return list(built.values()) if is_array else built

    return build


def _dump(tree: object, mapped: Mapped) -> bytes:
    try:
        return orjson.dumps(tree, default=_dump_decimal)
    except TypeError as error:
        raise _undumpable(mapped) from error


def _undumpable(mapped: Mapped) -> UnmappableLead:
    path = next((path for path, value in mapped if not _is_dumpable(value)), "")
    return UnmappableLead(path, "expected a value that JSON can carry")


def _dump_decimal(value: object) -> orjson.Fragment:
    """A Decimal is written with the digits it has; a float would change them."""
    if isinstance(value, Decimal):
        return orjson.Fragment(str(value))
    raise TypeError


def _is_dumpable(value: Value) -> bool:
    try:
        orjson.dumps(value, default=_dump_decimal)
    except TypeError:
        return False
    return True


# -------------------------------------------------------------------------------------------------- form and query


def _compile_form(paths: Sequence[str]) -> Encode:
    """`name=value&…`; a path is a name as it is written."""
    for path in paths:
        if not path:
            raise ValueError("expected a name for every field of a form")
    starts = {path: f"{quote_plus(path, safe='[]')}=" for path in paths}

    def encode(mapped: Mapped) -> bytes:
        return "&".join([starts[path] + _quote(path, value) for path, value in mapped]).encode("ascii")

    return encode


def _quote(path: str, value: Value) -> str:
    text = scalar_text(value)
    if text is None:
        raise UnmappableLead(path, "expected a single value: a form carries no objects or arrays")
    if text.isalnum() and text.isascii():
        return text
    try:
        return quote_plus(text)
    except UnicodeEncodeError as error:
        raise UnmappableLead(path, "expected text that UTF-8 can carry") from error


FORMATS: dict[BodyFormat, Format] = {
    BodyFormat.JSON: Format(content_type="application/json", compile=_compile_json),
    BodyFormat.FORM: Format(content_type="application/x-www-form-urlencoded", compile=_compile_form),
    BodyFormat.XML: Format(content_type="application/xml; charset=utf-8", compile=compile_xml),
    BodyFormat.QUERY: Format(content_type="", compile=_compile_form, is_in_query=True),
}
