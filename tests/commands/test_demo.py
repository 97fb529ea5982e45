"""The demo as a newcomer meets it: what the README and the demo's own text tell him to paste works to the letter."""

import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.commands.processes import ROOT, Serving, lexchange, serving

CURL = re.compile(r"curl -s http://[\w.:]+(/\w+) -d '(\{.*?\})'(?: \||;)", re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def demo(folder: Path) -> Iterator[Serving]:
    store = f"sqlite:///{folder}/demo.db"
    with serving("demo", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--store", store) as running:
        yield running
        assert running.stop() == 0


def printed(demo: Serving) -> str:
    """What the demo prints after its ready line, up to the last call."""
    lines: list[str] = []
    assert demo.process.stdout is not None
    while not lines or not lines[-1].startswith("ghz "):
        lines.append(demo.process.stdout.readline())
    return "".join(lines)


def paste(demo: Serving, text: str) -> dict[str, dict[str, Any]]:
    """Send the curl calls in a text, in their order; each path's answer."""
    answers: dict[str, dict[str, Any]] = {}
    for path, body in CURL.findall(text):
        sent = body.replace("'$PING_ID'", answers.get("/ping", {}).get("ping_id", ""))
        assert "'" not in sent
        request = urllib.request.Request(f"http://{demo.http}{path}", data=sent.encode())
        with urllib.request.urlopen(request, timeout=10) as response:
            answers[path] = json.loads(response.read())
    return answers


@pytest.mark.parametrize("source", ["readme", "printed"])
def test_pasted_calls_sell_a_lead(source: str, demo: Serving, folder: Path) -> None:
    """The published examples give 5.95 and then delivered, and `show` tells why."""
    text = (ROOT / "README.md").read_text("utf-8") if source == "readme" else printed(demo)
    answers = paste(demo, text)
    ping, post = answers["/ping"], answers["/post"]
    assert (ping["status"], ping["bid"]) == ("accepted", 5.95)
    assert (post["status"], list(post)) == ("delivered", ["status", "lead_id", "delivery_id"])
    assert "$PING_ID --store" in text
    shown = lexchange("show", ping["ping_id"], "--store", f"sqlite:///{folder}/demo.db").stdout
    assert "won with 7.00" in shown
    assert "lost with 6.10 to 7.00 of acme" in shown
    assert "lost with 5.25 to 7.00 of acme" in shown


def test_buyers_tell_what_they_saw(demo: Serving) -> None:
    """Each demo buyer can be asked: names of fields only, and only the winner got a lead."""
    seen = {}
    for port in (18081, 18082, 18083):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/seen", timeout=10) as response:
            told = json.loads(response.read())
        seen[told["buyer"]] = told["posts"]
    assert seen == {"acme": 2, "bright": 0, "summit": 0}


def test_a_second_demo_says_what_is_in_its_way(demo: Serving) -> None:
    """Its buyers have the ports that the campaign file names, whatever ports it is given for itself."""
    refused = lexchange("demo", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--store", "sqlite:///:memory:")
    assert refused.returncode == 1
    assert refused.stderr.startswith("the demo's buyer acme: cannot listen on 127.0.0.1:18081: Address already in use.")
