"""Documents: a buyer's answer as something that paths can be walked in, whether it is JSON, XML or a form.

The content decides what it is, because servers lie about the type. Pure; no body raises: what cannot be read is a
document without paths that says what is wrong with it. Money is parsed elsewhere, but numbers stay exact for it.
"""

import json
import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Any, TypeAlias
from urllib.parse import parse_qsl
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

import orjson

from lexchange.buyers.paths import Path
from lexchange.frozen import frozen, maker

Value: TypeAlias = str | int | float | bool | Decimal | list[Any] | dict[str, Any]

MAX_FORM_FIELDS = 1_000
MAX_XML_TAGS = 20_000
EXACT_BYTES = 65_536  # numbers with too many digits for a float are read again only in answers up to this size

_BOM = b"\xef\xbb\xbf"
_HTML = re.compile(rb"<(?:!doctype\s+html|html|head|body|title|script|h[1-6]|p|div|center|pre|br)[\s/>]", re.IGNORECASE)
_XML_DECLARATION = re.compile(r"\A\ufeff?\s*<\?xml\s[^>]*\?>")
_FORM_PAIR = r"[\w.\[\]-]{1,100}=[^&\r\n]*"
_FORM = re.compile(rf"{_FORM_PAIR}(?:&{_FORM_PAIR})*&?", re.ASCII)
_DECLARATION_BYTES = 200
_XML_ENCODING = re.compile(r"""\s*<\?xml\s[^>]*?encoding\s*=\s*["']([\w.-]+)""", re.ASCII)
_CHARSET = re.compile(r"""charset\s*=\s*["']?([\w.-]+)""", re.ASCII | re.IGNORECASE)
# The ones that occur. Not any codec Python knows: some of them take minutes over a hostile text.
_CHARSETS = frozenset({"iso-8859-1", "latin1", "latin-1", "iso-8859-15", "windows-1252", "cp1252"})
# With more than 15 digits, or an exponent, a float may not be the number that was written.
_EXACT_CHARACTERS = 16


class DocumentKind(StrEnum):
    """What an answer is."""

    JSON = "json"  # an object or an array
    XML = "xml"
    FORM = "form"
    TEXT = "text"  # anything else that can be decoded
    HTML = "html"  # a page for people: an error page, mostly
    EMPTY = "empty"
    BROKEN = "broken"  # begins like JSON or XML and is not, or cannot be decoded


@frozen
class Document:
    """A parsed answer. `problem` says why paths lead nowhere in it; "" when they can be walked."""

    kind: DocumentKind
    body: bytes
    root: Any = None
    problem: str = ""

    @property
    def has_paths(self) -> bool:
        """Whether paths can be walked; each may still lead to nothing."""
        return not self.problem


make_document = maker(Document)

Walk: TypeAlias = Callable[[Document], Value | None]


def parse_answer(body: bytes, content_type: str) -> Document:
    """Read an answer of any kind; never raises."""
    content = body.removeprefix(_BOM).strip()
    if not content:
        return Document(kind=DocumentKind.EMPTY, body=body, problem="an empty answer")
    first = content[:1]
    if first == b"{" or first == b"[":
        return _parse_json(content, content_type)
    if first == b"<":
        return _parse_xml(content)
    return _parse_text(content, content_type)


def reparse(text: str, content_type: str) -> Document:
    """Read an answer that was stored as text: its bytes are UTF-8 now, whatever an XML declaration says."""
    return parse_answer(_XML_DECLARATION.sub("", text, count=1).encode("utf-8", "replace"), content_type)


def answer_text(body: bytes, content_type: str) -> str:
    """The whole answer as text, without a byte order mark; what cannot be decoded is replaced."""
    return _decode(body, content_type)[0]


def scalar_text(value: Value) -> str | None:
    """A scalar as it is compared and as formats without types send it: `true`, `1`, `1.0`; None for the others."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float | Decimal):
        return str(value)
    return None


# --------------------------------------------------------------------------------------------------------- parsing


def _parse_json(content: bytes, content_type: str) -> Document:
    try:
        root = orjson.loads(content)
    except orjson.JSONDecodeError:
        if content[:1] == b"[" and "json" not in content_type.lower():
            return _parse_text(content, content_type)  # such as `[OK] accepted`
        return _broken(content, "broken JSON")
    return Document(kind=DocumentKind.JSON, body=content, root=root)


def _parse_xml(content: bytes) -> Document:
    if _HTML.match(content):
        return Document(kind=DocumentKind.HTML, body=content, problem="an HTML page")
    # Without a DOCTYPE there are no entities to blow up. The word cannot hide: the one encoding of expat in which
    # ASCII is not ASCII is UTF-16, and that is full of NULs.
    if b"<!DOCTYPE" in content or b"\0" in content:
        return _broken(content, "XML with a DOCTYPE or a NUL, which is refused")
    if content.count(b"<") > MAX_XML_TAGS:
        return _broken(content, f"XML of more than {MAX_XML_TAGS} tags")
    try:
        root = _read_xml(content)
    except (expat.ExpatError, ValueError, LookupError):
        # Without the parser's words: they quote the answer, which may echo the lead.
        return _broken(content, "broken XML")
    if _local(root.tag).lower() == "html":
        return Document(kind=DocumentKind.HTML, body=content, problem="an HTML page")
    return Document(kind=DocumentKind.XML, body=content, root=root)


def _read_xml(content: bytes) -> Element:
    """The element tree, names with their prefixes.

    Not lxml: libxml2 keeps every tag name it ever saw, so that a buyer could fill our memory with ever new ones. Not
    ElementTree's own parser: it repeats a namespace's whole URI in every tag.
    """
    builder = TreeBuilder()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.Parse(content, True)
    return builder.close()


def _parse_text(content: bytes, content_type: str) -> Document:
    text, is_exact = _decode(content, content_type)
    if not is_exact:
        return _broken(content, "text that is not UTF-8")
    is_declared = content_type.lower().startswith("application/x-www-form-urlencoded")
    if (is_declared and "=" in text) or _FORM.fullmatch(text):
        return _parse_form(content, text)
    return Document(kind=DocumentKind.TEXT, body=content, problem="plain text, not JSON, XML or a form")


def _parse_form(content: bytes, text: str) -> Document:
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FORM_FIELDS)
    except ValueError:
        return _broken(content, f"a form of more than {MAX_FORM_FIELDS} fields")
    return Document(kind=DocumentKind.FORM, body=content, root=dict(pairs))


def _broken(content: bytes, problem: str) -> Document:
    return Document(kind=DocumentKind.BROKEN, body=content, problem=problem)


def _decode(body: bytes, content_type: str) -> tuple[str, bool]:
    """The text, and whether it is exact: UTF-8, or in the old character set that it declares."""
    content = body.removeprefix(_BOM)
    if content.find(b"<?xml", 0, _DECLARATION_BYTES) >= 0:  # first, as the XML parser goes by it too
        in_xml = _XML_ENCODING.match(content[:_DECLARATION_BYTES].decode("ascii", "replace"))
        if in_xml and in_xml[1].lower() in _CHARSETS:
            return content.decode(in_xml[1], "replace"), True
    try:
        return content.decode(), True
    except UnicodeDecodeError:
        declared = _CHARSET.search(content_type)
        if declared and declared[1].lower() in _CHARSETS:
            return content.decode(declared[1], "replace"), True
        return content.decode("utf-8", "replace"), False


# --------------------------------------------------------------------------------------------------------- walking


def compile_walk(path: Path) -> Walk:
    """A function that finds what stands at `path`; None when nothing does, or a JSON null.

    In XML the path starts at the root element and finds texts; in a form it is a name.
    """
    find_in_json = _compile_find(path.keys)
    keys = path.keys
    form_name = path.form_name
    siblings = _siblings(path)
    attribute = _local(path.attribute)
    json_kind, xml_kind, form_kind = DocumentKind.JSON, DocumentKind.XML, DocumentKind.FORM

    def walk(document: Document) -> Value | None:
        kind = document.kind
        if kind is json_kind:
            value = find_in_json(document.root)
            return _exact(value, keys, document.body) if type(value) is float else value
        if kind is xml_kind:
            return _find_in_xml(document.root, siblings, attribute) if siblings else None
        if kind is form_kind:
            found: str | None = document.root.get(form_name)
            return found
        return None

    return walk


def _compile_find(keys: tuple[str | int, ...]) -> Callable[[Any], Value | None]:
    """A function that finds what stands in parsed JSON; None when nothing does."""

    def find(value: Any) -> Value | None:
        try:
            for key in keys:
                value = value[key]
        except (KeyError, IndexError, TypeError):
            return None
        found: Value | None = value
        return found

    def find_in_arrays(value: Any) -> Value | None:
        try:
            for key in keys:
                value = None if type(value) is str else value[key]  # a text has indexes too
        except (KeyError, IndexError, TypeError):
            return None
        found: Value | None = value
        return found

    return find_in_arrays if any(isinstance(key, int) for key in keys) else find


def _exact(value: float, keys: tuple[str | int, ...], body: bytes) -> Value | None:
    """The number as it was written: reading it as a float may have cut its digits."""
    text = str(value)
    if (len(text) <= _EXACT_CHARACTERS and "e" not in text) or len(body) > EXACT_BYTES:
        return value
    try:
        return _compile_find(keys)(json.loads(body, parse_float=Decimal, parse_int=Decimal))
    except (ValueError, RecursionError, InvalidOperation):  # the last: an exponent that no Decimal has
        return value


def _siblings(path: Path) -> tuple[tuple[str, int], ...]:
    """The path in XML: each name with which of its same-named siblings is meant; () when XML cannot have it."""
    found: list[tuple[str, int]] = []
    was_name = False
    for step in path.steps:
        if isinstance(step, str):
            found.append((_local(step), 0))
        elif was_name:
            found[-1] = (found[-1][0], step)
        else:
            return ()
        was_name = isinstance(step, str)
    return tuple(found)


def _find_in_xml(root: Element, siblings: tuple[tuple[str, int], ...], attribute: str) -> str | None:
    if siblings[0] != (_local(root.tag), 0):
        return None
    element = root
    for name, index in siblings[1:]:
        for child in element:
            if _local(child.tag) == name:
                if index == 0:
                    element = child
                    break
                index -= 1
        else:
            return None
    if attribute:
        values = (text for name, text in element.items() if _local(name) == attribute and name[:6] != "xmlns:")
        return next(values, None)
    return "".join(element.itertext()).strip()


def _local(name: str) -> str:
    """A name without its prefix, in an answer as in a path: `soap:Body` is `Body`."""
    return name.rpartition(":")[2]
