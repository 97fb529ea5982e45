"""Campaign files that are JSON: whatever is read without lines is what YAML reads, and problems have their lines."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from yaml.nodes import MappingNode, Node, SequenceNode

from lexchange.campaign_file import load_campaigns
from lexchange.campaign_file.document import NESTING_DEPTH, CampaignFile, Problem, parse_documents
from lexchange.campaign_file.json_text import KEY_CHARACTERS, parse_json
from lexchange.campaign_file.reading import is_null, is_plain
from lexchange.errors import ConfigError

CASES = Path(__file__).resolve().parents[1] / "cases" / "campaign_file"
BASE = yaml.load((CASES / "base.yaml").read_text("utf-8"), Loader=yaml.BaseLoader)  # all texts, as they are written
SMALL = {
    "campaign": "small",
    "status": "active",
    "traffic_type": "ping_post",
    "payout": {"mode": "fixed", "amount": 4.0},
    "sources": [{"src": "SRC", "keys": [{"key": "a"}]}],
}

Shape = tuple[object, ...]


def shape(node: Node) -> Shape:
    """All that a reader looks at but for lines."""
    if isinstance(node, MappingNode):
        return "mapping", node.tag, [(shape(key), shape(value)) for key, value in node.value]
    if isinstance(node, SequenceNode):
        return "list", node.tag, [shape(value) for value in node.value]
    return "scalar", node.tag, node.value, is_plain(node), is_null(node)


def as_yaml(text: str, name: str = "case.json") -> tuple[list[Shape], list[Problem]]:
    problems: list[Problem] = []
    nodes = parse_documents(CampaignFile(name=name, content=text.encode("utf-8", "surrogatepass")), problems)
    return [shape(node) for node in nodes], problems


TEXTS = st.text(max_size=8) | st.sampled_from(["<<", "true", "null", "1", "*a", "&a", "!t", "# no", "a: b", "- ", " "])
NUMBERS = st.integers() | st.floats(allow_nan=True, allow_infinity=True)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)
STYLES: list[dict[str, Any]] = [
    {},
    {"indent": 2},
    {"separators": (",", ":")},
    {"indent": "\t", "ensure_ascii": False},
    {"separators": ("\n,", " :\r\n"), "ensure_ascii": False},
    {"separators": (" ,", "\n:")},
]
SIGNS = ["", "\n", '"', ",", "{", "]", "#", "-", "\\", "\u2028", "\t", "0"]
EDIT = st.tuples(st.integers(0, 200), st.sampled_from(SIGNS))


@settings(max_examples=500, deadline=None)
@given(
    value=st.dictionaries(TEXTS, VALUES, max_size=5),
    style=st.sampled_from(STYLES),
    edits=st.lists(EDIT, max_size=2),
)
@example(value={"a": 1, "b": -0.5, "c": [1e30, True, None, "x"]}, style={}, edits=[])
def test_what_is_read_as_json_is_the_same_as_yaml(
    value: dict[str, object], style: dict[str, Any], edits: list[tuple[int, str]]
) -> None:
    """Also where it is damaged, and in whatever style it is written."""
    text = json.dumps(value, **style)
    for where, what in edits:
        text = text[: where % len(text)] + what + text[where % len(text) + len(what) :]
    root = parse_json(text, NESTING_DEPTH)
    if root is not None:
        documents, problems = as_yaml(text)
        has_unprintable = problems and "control character" in problems[0].text  # which is asked first
        assert has_unprintable or (documents, problems) == ([shape(root)], [])


@pytest.mark.parametrize("style", [{}, {"indent": 2}, {"separators": (",", ":")}])
def test_usual_json_needs_no_yaml(style: dict[str, Any]) -> None:
    """Numbers as they are written, names of people and addresses."""
    text = json.dumps({"a": [1, 2.50, -1e-7, "é", "https://x.example/?a=b#c"], "<<": {"b": None}}, ensure_ascii=False)
    assert parse_json(text, NESTING_DEPTH) is not None
    assert parse_json(json.dumps(BASE, default=str, **style), NESTING_DEPTH) is not None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a: {}",
        "[1]",
        " {}",
        "{} {}",
        '{"a": 1,}',
        "{a: 1}",
        '{"a": NaN}',
        '{"a": -Infinity}',
        '{"a": "\\n"}',
        '{"a":\t1}',
        '{"a": "x\u2028y"}',
        '{"a": "x\x85y"}',
        '{"a"\n: 1}',
        '{"a"\r\n  : 1}',
        '{"a"  : 1}',
        f'{{"{"k" * (KEY_CHARACTERS + 1)}": 1}}',
        '{"a":' * NESTING_DEPTH + "1" + "}" * NESTING_DEPTH,
        '{"a":' * 100_000,
    ],
)
def test_what_yaml_may_read_otherwise_is_left_to_it(text: str) -> None:
    """Whatever is no plain JSON object, and what is deeper than a campaign file may be."""
    assert parse_json(text, NESTING_DEPTH) is None


def test_json_may_be_as_deep_as_yaml() -> None:
    """64 levels, the innermost value included."""
    text = '{"a":' * (NESTING_DEPTH - 1) + "1" + "}" * (NESTING_DEPTH - 1)
    root = parse_json(text, NESTING_DEPTH)
    assert root is not None
    assert as_yaml(text) == ([shape(root)], [])


# ------------------------------------------------------------------------------------------------ whole campaign files


def outcome(folder: Path, **texts: str) -> object:
    """What a folder becomes: its campaigns, or the lines that say what is wrong."""
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / f"{name}.yaml").write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        return load_campaigns(folder, is_dev=True, pepper=b"", environment={}).campaigns
    except ConfigError as error:
        return str(error).replace(f"{folder}/", "")


def test_problems_of_json_have_their_lines(tmp_path: Path) -> None:
    """Several in two files, one of which is YAML; and nobody is said to be there twice who is not."""
    bad = json.dumps(SMALL | {"status": "actve", "currency": "usd"}, indent=1)
    other = "campaign: other\nstatus: active\ntraffic_type: ping_post\npayout: {mode: fixed}\n"
    assert outcome(tmp_path, a=json.dumps(SMALL | {"campaign": "first", "sources": []}), b=bad, c=other) == (
        "b.yaml:3: status: expected one of draft, active, inactive; got 'actve'\n"
        "b.yaml:19: currency: expected three capital letters such as USD; got 'usd'\n"
        "c.yaml:4: payout: missing key amount"
    )


@pytest.mark.parametrize("second", [json.dumps(SMALL), "--- " + json.dumps(SMALL)])
@pytest.mark.parametrize("first", [json.dumps(SMALL), "--- " + json.dumps(SMALL)])
def test_names_are_unique_over_json_and_yaml(first: str, second: str, tmp_path: Path) -> None:
    """Whichever comes first is named, with its line."""
    assert outcome(tmp_path, a=first, b=second) == (
        "b.yaml:1: campaign: small is used already, at a.yaml:1\n"
        "b.yaml:1: sources[0].src: SRC is used already, at a.yaml:1"
    )


def test_a_key_that_is_given_twice_in_json_is_refused(tmp_path: Path) -> None:
    """JSON readers commonly take the last one."""
    text = json.dumps(SMALL, indent=1).replace('"status": "active"', '"status": "active",\n "status": "draft"')
    assert outcome(tmp_path, a=text) == "a.yaml:4: status: key given twice, first on line 3"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    document=st.sampled_from([SMALL, BASE]),
    style=st.sampled_from(STYLES),
    edits=st.lists(st.tuples(st.integers(1, 5_000), TEXTS), max_size=2),
)
def test_json_becomes_the_same_as_yaml(
    document: dict[str, object], style: dict[str, Any], edits: list[tuple[int, str]], tmp_path: Path
) -> None:
    """As behind `---`, where nothing is taken for JSON: campaigns, or problems word by word."""
    text = json.dumps(document, default=str, **style)
    for where, what in edits:
        at = 1 + where % (len(text) - 1)
        text = text[:at] + what + text[at:]
    if parse_json(text, NESTING_DEPTH):
        found, expected = outcome(tmp_path / "one", a=text), outcome(tmp_path / "two", a=f"--- {text}")
        assert found == expected
        assert edits or not isinstance(found, str), "the documents are good ones"
