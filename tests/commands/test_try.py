"""`lexchange try`: an operator sees the exact request and how the answer reads, before a buyer goes live."""

import asyncio
from base64 import b64encode
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.commands.processes import lexchange
from tests.exchange.cases import BASE, Case, campaign_of, replies_of
from tests.exchange.scripted_buyers import ScriptedBuyers, scripted_buyers

LEAD = BASE["calls"]["ping"]["data"] | BASE["calls"]["post"]["data"]
SECRET = {"buyers.acme.ping.headers": {"X-Key": {"env": "ACME_KEY"}, "X-Partner": "calarax"}}


def tried(folder: Path, *arguments: str, case: Case | None = None, lead: Any = None) -> tuple[Any, ScriptedBuyers]:
    """The finished command, and what the buyers saw of it."""

    async def story() -> tuple[Any, ScriptedBuyers]:
        async with scripted_buyers(replies_of(case or {})) as buyers:
            (folder / "auto.yaml").write_bytes(campaign_of(case or {}, buyers.address))
            (folder / "lead.json").write_bytes(orjson.dumps({"data": LEAD} if lead is None else lead))
            files = ("--config", f"{folder}/auto.yaml", "--lead", f"{folder}/lead.json", "--dev")
            done = await asyncio.to_thread(lexchange, "try", *arguments, *files, ACME_KEY="s3cret-canary")
            return done, buyers

    return asyncio.run(story())


def test_shows_the_request_and_sends_nothing(tmp_path: Path) -> None:
    """The body is byte for byte what would go out; a secret header is masked; no connection is made."""
    done, buyers = tried(tmp_path, "acme", case={"change": SECRET})
    assert (done.returncode, done.stderr, buyers.connections) == (0, "", 0)
    assert f"ping: POST http://{buyers.address}/acme/ping" in done.stdout
    assert '{"zip":"90210","ref":"PING-' in done.stdout
    assert "X-Partner: calarax" in done.stdout
    assert "X-Key: …" in done.stdout
    assert "s3cret-canary" not in done.stdout
    assert "not sent: add --send" in done.stdout


@pytest.mark.parametrize(
    ("auth", "shown"),
    [
        ({"basic": {"username": "calarax", "password": {"env": "ACME_KEY"}}}, "Authorization: …"),
        ({"bearer": {"env": "ACME_KEY"}}, "Authorization: …"),
        (
            {
                "oauth2": {
                    "token_url": "https://login.example/t?k=1",
                    "client_id": "a",
                    "client_secret": {"env": "ACME_KEY"},
                }
            },
            "Authorization: Bearer … from https://login.example/t\n",
        ),
    ],
)
def test_masks_how_we_show_who_we_are(auth: dict[str, Any], shown: str, tmp_path: Path) -> None:
    """The way is told, the secret never, in no encoding."""
    done, _ = tried(tmp_path, "acme", case={"change": {"buyers.acme.auth": auth}})
    assert done.returncode == 0, done.stderr
    assert shown in done.stdout
    assert "canary" not in done.stdout
    assert b64encode(b"calarax:s3cret-canary").decode() not in done.stdout


def test_sends_a_ping_and_reads_its_answer(tmp_path: Path) -> None:
    """The bid, the verdict, and what the post would take of the answer."""
    done, buyers = tried(tmp_path, "auto/acme", "--send", case={"change": SECRET})
    assert done.returncode == 0, done.stderr
    assert "accepted" in done.stdout
    assert "bid: 7.00" in done.stdout
    assert "for the post: token = promise-of-acme" in done.stdout
    assert buyers.headers["acme.ping"][0]["x-key"] == "s3cret-canary"


def test_sends_a_post_after_its_ping(tmp_path: Path) -> None:
    """The post gets the promise of the ping that was sent just before."""
    done, buyers = tried(tmp_path, "acme", "--post", "--send", "--json")
    facts = orjson.loads(done.stdout)
    assert [(call["call"], call["verdict"]) for call in facts["calls"]] == [("ping", "accepted"), ("post", "accepted")]
    assert buyers.received["acme.post"][0]["promise"] == "promise-of-acme"
    assert buyers.calls == {"acme.ping": 1, "acme.post": 1}


def test_takes_the_ping_answer_from_a_file(tmp_path: Path) -> None:
    """Without a call, a kept answer shows what the post would carry."""
    (tmp_path / "answer.json").write_text('{"status": "ok", "token": "from-a-file"}')
    done, buyers = tried(tmp_path, "acme", "--post", "--ping-answer", f"{tmp_path}/answer.json")
    assert '"promise":"from-a-file"' in done.stdout
    assert buyers.connections == 0


@pytest.mark.parametrize(
    ("replies", "said"),
    [
        ([{"json": {"status": "no"}}], "rejected"),
        ([{"text": "<html>down</html>"}], "unreadable"),
        ([{"json": {"status": "ok", "bid": "much"}}], "bid problem: "),
        ([{"reset": True}], "no answer"),
    ],
)
def test_says_how_an_answer_reads(replies: list[Any], said: str, tmp_path: Path) -> None:
    """A no, a page for people, a bid that is none, a broken connection: each is told."""
    done, _ = tried(tmp_path, "acme", "--send", case={"replies": {"acme.ping": replies}})
    assert said in done.stdout
    assert done.returncode == (0 if said.startswith("bid") else 1)


def test_says_that_the_buyer_would_not_be_asked(tmp_path: Path) -> None:
    """Rules that keep the lead from the buyer are told, and the request is shown all the same."""
    rule = {"buyers.acme.filters": [{"field": "state", "op": "in", "value": ["NY"]}]}
    done, _ = tried(tmp_path, "acme", case={"change": rule}, lead={"state": "CA", "zipcode": "02134"})
    assert "he would not be asked: filtered: state in [NY]: was CA" in done.stdout
    assert "the lead has a problem: email: expected a value" in done.stdout
    assert '"zip":"02134"' in done.stdout


@pytest.mark.parametrize(
    ("arguments", "lead", "said"),
    [
        (("nobody",), None, "nobody: expected one of auto/acme, auto/bright"),
        (("acme",), [1], "lead.json: expected {"),
        (("acme",), {"data": {"state": {"deep": 1}}}, "lead.json: expected {"),
        (("acme", "--post", "--ping-answer", "/nowhere"), None, "/nowhere: cannot be read"),
    ],
)
def test_says_what_was_expected(arguments: tuple[str, ...], lead: Any, said: str, tmp_path: Path) -> None:
    """A wrong name or file is an error in a sentence, with exit code 1."""
    done, _ = tried(tmp_path, *arguments, lead=lead)
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr
