"""Paths: where a value stands in a buyer's request or answer, as an operator writes it.

Only the grammar: what a path means in JSON, XML or a form is `documents.py` for answers and `formats.py` for requests.
"""

import functools
import re
from dataclasses import dataclass

MAX_STEPS = 32

_STEP = re.compile(
    r"""
    \[(?P<index>\d{1,4})\]
    | \[(?P<quoted>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')\]
    | (?P<dot>\.?) (?: @(?P<attribute>[^.\[\]@"'\s]+) | (?P<name>[^.\[\]@"'][^.\[\]"]*) )
    """,
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """A parsed path. `steps` are names and indexes from 0; `attribute` is the last segment's `@name` without the @."""

    text: str
    steps: tuple[str | int, ...]
    attribute: str = ""

    @property
    def keys(self) -> tuple[str | int, ...]:
        """The path in JSON, which has no attributes: there `@type` is a key like any other."""
        return (*self.steps, f"@{self.attribute}") if self.attribute else self.steps

    @property
    def form_name(self) -> str:
        """The path in a form, whose names are flat: the path as it is written, or its one key."""
        if len(self.steps) == 1 and isinstance(self.steps[0], str) and not self.attribute:
            return self.steps[0]
        return self.text


# Kept, because many buyers' paths are the same few, and each is read when its file is checked and when it is compiled.
@functools.lru_cache(maxsize=4096)
def parse_path(text: str) -> Path:
    """Read `data.bids[0].price`; raises ValueError saying what was expected.

    A key that holds a dot or a bracket is quoted in brackets: `data["a.b"].price`; `\\` escapes inside the quotes.
    `@name`, last, is an XML attribute: `response.bid.@currency`.
    """
    steps: list[str | int] = []
    attribute = ""
    position = 0
    while position < len(text):
        step = _STEP.match(text, position)
        joint = "." if position else ""
        if step is None or attribute or step["dot"] not in (None, joint):
            raise ValueError(f"path {text!r}: expected {_expected(text, position, attribute)}")
        attribute = step["attribute"] or ""
        if step["index"]:
            steps.append(int(step["index"]))
        elif step["quoted"]:
            steps.append(_ESCAPE.sub(r"\1", step["quoted"][1:-1]))
        elif step["name"]:
            steps.append(step["name"])
        position = step.end()
    if not steps or len(steps) > MAX_STEPS:
        raise ValueError(f"path {text!r}: expected 1 to {MAX_STEPS} names, such as data.bids[0].price")
    return Path(text=text, steps=tuple(steps), attribute=attribute)


def _expected(text: str, position: int, attribute: str) -> str:
    if attribute:
        return f"nothing after the attribute @{attribute}"
    if text[position] == "[":
        return f'an index such as [0] or a quoted key such as ["a.b"] at character {position + 1}'
    return f"names divided by dots, such as data.bids[0].price, at character {position + 1}"
