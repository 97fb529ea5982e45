"""Campaign files as YAML documents: finding them, reading them, and refusing what no campaign file may be.

Knows nothing of campaigns. JSON is read as the YAML it is where lines are wanted, and in any doubt.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode

from lexchange.campaign_file.json_text import parse_json

SUFFIXES = (".yaml", ".yml", ".json")
FILE_BYTES = 5 * 1024 * 1024
NESTING_DEPTH = 64  # aliases followed; libyaml itself would overflow the C stack far above
EXPANDED_NODE_COUNT = 1_000_000  # a document's nodes, each alias counted as what it stands for

if TYPE_CHECKING or not yaml.__with_libyaml__:
    from yaml import SafeLoader as Loader
else:
    from yaml import CSafeLoader as Loader


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Problem:
    """What is wrong with a file, and where."""

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {' '.join(self.text.splitlines())}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignFile:
    """A file's bytes, and the name that problems give it."""

    name: str
    content: bytes


def read_files(path: Path, problems: list[Problem]) -> list[CampaignFile]:
    """The file at `path`, or the campaign files directly in the folder `path`, sorted by name."""
    files = []
    for file in _find(path, problems):
        if not file.name.isprintable():  # the store keeps it as UTF-8
            problems.append(Problem(file=ascii(str(file)), line=1, text="expected a file name of printable characters"))
            continue
        try:
            with file.open("rb") as stream:
                content = stream.read(FILE_BYTES + 1)
        except OSError as error:
            problems.append(_unreadable(file, error))
            continue
        if len(content) > FILE_BYTES:
            text = f"expected at most {FILE_BYTES // 1024**2} MiB: split it into several files"
            problems.append(Problem(file=str(file), line=1, text=text))
        else:
            files.append(CampaignFile(name=str(file), content=content))
    return files


def folder_of(path: Path) -> Path:
    """Where the campaign files at `path` lie, be it one of them or their folder."""
    return path.parent if path.suffix in SUFFIXES and not path.is_dir() else path


def _find(path: Path, problems: list[Problem]) -> list[Path]:
    try:
        if not path.is_dir():
            found = [path] if path.suffix in SUFFIXES else []
            expected = "expected a .yaml, .yml or .json file, or a folder of them"
        else:
            listing = (file for file in path.iterdir() if file.suffix in SUFFIXES and not file.name.startswith("."))
            found = sorted(file for file in listing if not file.is_dir())
            expected = "expected at least one .yaml, .yml or .json file in this folder"
    except OSError as error:
        problems.append(_unreadable(path, error))
        return []
    if not found:
        problems.append(Problem(file=str(path), line=1, text=expected))
    return found


def _unreadable(path: Path, error: OSError) -> Problem:
    return Problem(file=str(path), line=1, text=f"expected a readable file: {error.strerror or error}")


def parse_documents(file: CampaignFile, problems: list[Problem], *, with_lines: bool = True) -> list[Node]:
    """The documents of a file, empty ones left out; those before a syntax error are still read.

    Without lines, nodes may have no marks: that is quicker.
    """
    documents: list[Node] = []
    try:
        text = _text(file)
        if not with_lines and (root := parse_json(text, NESTING_DEPTH)):
            return [root]
        for root in yaml.compose_all(text, Loader=_NodeLoader):
            if isinstance(root, ScalarNode) and not root.value and not root.style:
                continue
            if "*" in text or "!" in text:
                _Inspection().measure(root)
            documents.append(root)
        if not documents:
            raise _Refused(1, "expected a campaign; got an empty file")
    except _Refused as error:
        problems.append(Problem(file=file.name, line=error.line, text=error.text))
    except yaml.YAMLError as error:
        problems.append(_syntax_problem(file, error))
    return documents


class _Refused(Exception):
    def __init__(self, line: int, text: str) -> None:
        super().__init__(text)
        self.line = line
        self.text = text


# What YAML calls printable, without the byte order mark inside a text.
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_JSON_SURROGATES = re.compile(r"(?<!\\)((?:\\\\)*)\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")


def _text(file: CampaignFile) -> str:
    try:
        text = file.content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = file.content.count(b"\n", 0, error.start) + 1
        raise _Refused(line, f"expected UTF-8 text; got byte 0x{file.content[error.start]:02x}") from error
    if odd := _UNPRINTABLE.search(text):
        line = text.count("\n", 0, odd.start()) + 1
        raise _Refused(line, f"expected text; got the control character U+{ord(odd[0]):04X}")
    if file.name.endswith(".json"):
        # What JSON allows and YAML does not: tabs between values, and characters escaped as two surrogates.
        text = text.replace("\t", " ")
        text = _JSON_SURROGATES.sub(lambda found: found[1] + _character(found[2] + found[3]), text)
    return text


def _character(surrogates_hex: str) -> str:
    return bytes.fromhex(surrogates_hex).decode("utf-16-be")


class _NodeLoader(Loader):
    """PyYAML's composer, without guessing types and with an end to nesting; it constructs no object.

    A subclass, because that is the only way to its hooks.
    """

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = 0

    def resolve(self, kind: type[Node], value: str | None, implicit: object) -> str:
        """Leave the tag empty: what a scalar means is decided by the key it stands at."""
        return ""

    def descend_resolver(self, current_node: Node | None, current_index: object) -> None:
        """Called before each node is composed."""
        self._depth += 1
        if self._depth > NESTING_DEPTH:
            line = current_node.start_mark.line + 1 if current_node else 1
            raise _Refused(line, f"expected at most {NESTING_DEPTH} levels of nesting")

    def ascend_resolver(self) -> None:
        """Called after each node is composed."""
        self._depth -= 1


_PLAIN_TAGS = {"", *(f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "map", "seq"))}


class _Inspection:
    """Walks one document as a reader will: aliases followed, tags looked at."""

    def __init__(self) -> None:
        self._measured: dict[int, tuple[int, int] | None] = {}  # node -> (count, depth); None while inside it

    def measure(self, node: Node) -> tuple[int, int]:
        """How many nodes a reader will visit here, and how deep. An anchor comes before its aliases: each is known."""
        line = node.start_mark.line + 1
        if id(node) in self._measured:
            measured = self._measured[id(node)]
            if measured is None:
                raise _Refused(line, "expected an alias to something complete; got one to what it is part of")
            return measured
        if node.tag not in _PLAIN_TAGS:
            tag = node.tag.replace("tag:yaml.org,2002:", "!!")
            raise _Refused(line, f"expected YAML without tags; got {tag}")
        self._measured[id(node)] = None
        sizes = [self.measure(child) for child in _children(node)]
        count = 1 + sum(size for size, _ in sizes)
        depth = 1 + max((depth for _, depth in sizes), default=0)
        if count > EXPANDED_NODE_COUNT or depth > NESTING_DEPTH:
            raise _Refused(line, "expected aliases that stay small; got ones that multiply what they stand for")
        self._measured[id(node)] = count, depth
        return count, depth


def _children(node: Node) -> Iterator[Node]:
    if isinstance(node, MappingNode):
        for key, value in node.value:
            yield key
            yield value
    elif not isinstance(node, ScalarNode):
        yield from node.value


def _syntax_problem(file: CampaignFile, error: yaml.YAMLError) -> Problem:
    if not isinstance(error, yaml.MarkedYAMLError):
        return Problem(file=file.name, line=1, text=f"expected valid YAML: {error}")
    found, started = error.problem_mark, error.context_mark
    lines = file.content.decode("utf-8-sig").splitlines()
    line = min(found.line + 1 if found else 1, len(lines))  # the end of a file may count as a line of its own
    if re.match(r" *\t", lines[line - 1]):
        return Problem(file=file.name, line=line, text="expected spaces in the indentation; got a tab")
    text = f"expected valid YAML: {error.problem}"
    if error.context:
        text += f" {error.context}"
    if started and error.context and "while scanning" in error.context:
        # What is scanned, a quoted text say, is noticed to have no end long after its beginning.
        line = started.line + 1
    elif started and started.line + 1 < line:
        text += f" that starts on line {started.line + 1}"
    return Problem(file=file.name, line=line, text=text)
