"""The XML format: mapped values become one element tree, written by a skeleton that the configuration compiles to.

Names come from the configuration alone and are checked when it is compiled; values are only ever escaped text.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from lexchange.buyers.documents import Value, scalar_text
from lexchange.buyers.mapping import Mapped, UnmappableLead
from lexchange.buyers.paths import Path, parse_path

DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'

_NAME = re.compile(r"(?:(?P<prefix>[A-Za-z_][\w-]*):)?[A-Za-z_][\w.-]*", re.ASCII)
# What no XML 1.0 document can hold, not even escaped.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SPECIAL = re.compile(r"""[&<>"'\t\n\r]""")
# A parser turns a bare \r into \n, and in an attribute any white space into a space.
_IN_TEXT = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;"})
_IN_ATTRIBUTE = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\t": "&#9;", "\n": "&#10;", "\r": "&#13;"}
)

_Texts: TypeAlias = Mapping[str, str]
_Write: TypeAlias = Callable[[_Texts], str]


@dataclass(slots=True)
class _Element:
    """An element of the request: a text or child elements, and attributes. Each name and text knows its path."""

    name: str
    path: str = ""
    attributes: dict[str, str] = field(default_factory=dict)
    children: dict[str, list["_Element"]] = field(default_factory=dict)


def compile_xml(paths: Sequence[str]) -> Callable[[Mapped], bytes]:
    """A function that writes the document; raises ValueError unless the paths make one tree of XML names."""
    root: _Element | None = None
    for text in paths:
        path = parse_path(text)
        if root is None:
            root = _Element(name=_check_name(path, str(path.steps[0])))
        _place(root, path)
    if root is None:
        raise ValueError("expected at least one field, to name the root element of the XML")
    _check_prefixes(root, frozenset({"xml", "xmlns"}))
    write = _compile_element(root, is_root=True)

    def encode(mapped: Mapped) -> bytes:
        texts = {path: _checked_text(path, value) for path, value in mapped}
        return (DECLARATION + write(texts)).encode()

    return encode


def _place(root: _Element, path: Path) -> None:
    steps = list(path.steps)
    if steps.pop(0) != root.name or (steps[:1] and isinstance(steps[0], int)):
        raise ValueError(f"{path.text}: expected it to start at the one root element, {root.name}")
    element = root
    while steps:
        name = steps.pop(0)
        index = steps.pop(0) if steps and isinstance(steps[0], int) else 0
        if not isinstance(name, str) or not isinstance(index, int):
            raise ValueError(f"{path.text}: expected a name before an index")
        same = element.children.setdefault(_check_name(path, name), [])
        if index > len(same):
            raise ValueError(f"{path.text}: expected {name}[{len(same)}] first")
        if index == len(same):
            same.append(_Element(name=name))
        if element.path:
            raise ValueError(f"{path.text}: expected no elements in {element.path}, which has a value")
        element = same[index]
    _put(element, path)


def _put(element: _Element, path: Path) -> None:
    """Give the element its text or an attribute."""
    if path.attribute:
        taken = element.attributes.setdefault(_check_name(path, path.attribute), path.text)
    elif element.children:
        raise ValueError(f"{path.text}: expected no value where other paths have elements")
    else:
        taken = element.path = element.path or path.text
    if taken != path.text:
        raise ValueError(f"{path.text}: expected once, it is the same as {taken}")


def _check_name(path: Path, name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{path.text}: expected {name!r} to be an XML name: letters, digits, _, - and .")
    return name


def _check_prefixes(element: _Element, declared: frozenset[str]) -> None:
    """Raise ValueError for a prefix that no `@xmlns:prefix` around it declares."""
    declared |= {name.removeprefix("xmlns:") for name in element.attributes if name.startswith("xmlns:")}
    for name in (element.name, *element.attributes):
        prefix = name.rpartition(":")[0]
        if prefix and prefix not in declared:
            raise ValueError(f"{name}: expected a field {element.name}.@xmlns:{prefix} to declare the prefix")
    for same in element.children.values():
        for child in same:
            _check_prefixes(child, declared)


def _compile_element(element: _Element, *, is_root: bool = False) -> _Write:
    """A function that writes the element; "" when none of its values came, unless it is the root."""
    name, path = element.name, element.path
    attributes = tuple((f' {name}="', of) for name, of in element.attributes.items())
    parts = tuple(_compile_element(child) for same in element.children.values() for child in same)

    def write(texts: _Texts) -> str:
        opening = f"<{name}"
        for start, of in attributes:
            if of in texts:
                opening += f'{start}{_escape(texts[of], _IN_ATTRIBUTE)}"'
        content = texts.get(path) if path else "".join([write_part(texts) for write_part in parts]) or None
        if content is None:
            return f"{opening}></{name}>" if is_root or len(opening) > len(name) + 1 else ""
        return f"{opening}>{_escape(content, _IN_TEXT) if path else content}</{name}>"

    return write


def _escape(text: str, table: dict[int, str]) -> str:
    return text.translate(table) if _SPECIAL.search(text) else text


def _checked_text(path: str, value: Value) -> str:
    text = scalar_text(value)
    if text is None:
        raise UnmappableLead(path, "expected a single value: an XML element carries no JSON object or array")
    if _FORBIDDEN.search(text):
        raise UnmappableLead(path, "expected text without control characters, which XML cannot carry")
    return text
