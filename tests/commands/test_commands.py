"""`check`, `show`, `reconcile` and `key`, as an operator uses them: text for him, JSON for his programs."""

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from tests.commands.processes import lexchange
from tests.exchange.cases import BASE, Case, Names, campaign_of
from tests.exchange.running import exchange_for
from tests.exchange.transports import transport

ROOT = Path(__file__).resolve().parents[2]
UNKNOWN: Case = {
    "replies": {
        "acme.post": [{"text": "<html>down</html>"}],
        "bright.ping": [{"json": {"status": "no", "why": "too far"}}],
    },
    "change": {"buyers.bright.ping.ping_response_settings.reason_path": "why"},
}


def run_case(case: Case, folder: Path, *steps: dict[str, object], linger_s: float = 0) -> list[dict[str, str]]:
    """What a source was answered; the exchange lives on for a while, the store stays behind."""

    async def story() -> list[dict[str, str]]:
        names = Names()
        told: list[dict[str, str]] = []
        async with exchange_for(case, folder) as (server, _), transport("rest", server) as source:
            for step in steps:
                if told and "ping_id" in told[0]:
                    step = {"ping_id": told[0]["ping_id"]} | step
                _, answer = await source.send(names.call(step))
                told.append(answer)
            await asyncio.sleep(linger_s)
        return told

    return asyncio.run(story())


def store_of(folder: Path) -> tuple[str, str]:
    return "--store", f"sqlite:///{folder}/store.db"


def test_show_explains_an_auction(tmp_path: Path) -> None:
    """Who won and who did not and why, the payout's arithmetic, the configuration; values masked, secrets absent."""
    ping, post = run_case(UNKNOWN, tmp_path, {"call": "ping"}, {"call": "post"})
    shown = lexchange("show", ping["ping_id"], *store_of(tmp_path))
    assert shown.returncode == 0, shown.stderr
    for line in (
        rf"^{ping['ping_id']}  accepted at a payout of 5\.95, won by acme$",
        r"configuration [0-9a-f]{12}$",
        r"^  payout     7\.00 by revenue_share 0\.85 = 5\.95 to the source, margin 1\.05$",
        r"^    acme    \d+\.\d ms  won with 7\.00$",
        r"^    bright  \d+\.\d ms  .*too far",
        rf"^{post['lead_id']}  ",
    ):
        assert re.search(line, shown.stdout, re.MULTILINE), f"{line}\n{shown.stdout}"
    for secret in ("sam.carter", "3105550102", "live_key_value", "promise-of-acme"):
        assert secret not in shown.stdout
    unmasked = lexchange("show", ping["ping_id"], "--data", *store_of(tmp_path))
    assert "sam.carter@example.com" in unmasked.stdout


@pytest.mark.parametrize("name", ["ping_id", "lead_id", "delivery_id"])
def test_show_finds_by_any_id(name: str, tmp_path: Path) -> None:
    """A ping, its lead and its delivery lead to the same explanation, as JSON too."""
    ping, post = run_case({}, tmp_path, {"call": "ping"}, {"call": "post"})
    shown = lexchange("show", (ping | post)[name], "--json", *store_of(tmp_path))
    facts = orjson.loads(shown.stdout)
    assert facts["ping_id"] == ping["ping_id"]
    assert facts["lead"]["lead_id"] == post["lead_id"]
    assert [buyer["buyer"] for buyer in facts["buyers"]] == ["acme", "bright"]


def test_show_says_who_was_not_asked(tmp_path: Path) -> None:
    """A buyer who was not asked keeps his reason: the rule that failed."""
    case = {"change": {"buyers.bright.filters": [{"field": "state", "op": "in", "value": ["NY", "TX"]}]}}
    (ping,) = run_case(case, tmp_path, {"call": "ping"})
    shown = lexchange("show", ping["ping_id"], *store_of(tmp_path)).stdout
    assert re.search(r"^    bright  +not asked: .*state in", shown, re.MULTILINE), shown


def test_show_tells_of_an_answer_that_came_late(tmp_path: Path) -> None:
    """A buyer who answers after his time-out has not bid; what he said is kept all the same."""
    case = {
        "change": {"buyers.acme.ping.timeout_ms": 200},
        "replies": {"acme.ping": [{"json": {"status": "ok", "bid": 9}, "delay_ms": 500}]},
    }
    (ping,) = run_case(case, tmp_path, {"call": "ping"}, linger_s=0.6)
    shown = lexchange("show", ping["ping_id"], *store_of(tmp_path)).stdout
    assert re.search(r"^    acme    \d+\.\d ms +answered too late, bidding 9\.00$", shown, re.MULTILINE), shown
    assert re.search(r"^    bright  \d+\.\d ms +won with 6\.10$", shown, re.MULTILINE), shown


def test_show_lists_the_newest(tmp_path: Path) -> None:
    """--recent lists pings and leads, a line each."""
    ping, post = run_case({}, tmp_path, {"call": "ping"}, {"call": "post"})
    listed = lexchange("show", "--recent", "5", *store_of(tmp_path)).stdout
    assert ping["ping_id"] in listed
    assert post["lead_id"] in listed
    none = lexchange("show", "--recent", "5", "--src", "SRC_OTHER", "--json", *store_of(tmp_path)).stdout
    assert orjson.loads(none) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("show", "PING-0"), "PING-0: not in sqlite:///"),
        (("show",), "expected an id"),
        (("reconcile", "mark-failed", "L-0", "--note", "x"), "L-0: expected a lead whose outcome is unknown"),
    ],
)
def test_what_is_not_there_is_told(arguments: tuple[str, ...], said: str, tmp_path: Path) -> None:
    """A wrong id is an error in a sentence, with exit code 1."""
    run_case({}, tmp_path, {"call": "ping"})
    refused = lexchange(*arguments, *store_of(tmp_path))
    assert (refused.returncode, refused.stdout) == (1, "")
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr


def test_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    """A mistyped path is told, not created."""
    refused = lexchange("show", "PING-0", *store_of(tmp_path))
    assert refused.returncode == 1
    assert "there is no such file" in refused.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("action", "outcome"), [("mark-delivered", "delivered"), ("mark-failed", "failed")])
def test_reconcile(action: str, outcome: str, tmp_path: Path) -> None:
    """A lead whose outcome nobody knows is listed until an operator says what became of it, once."""
    _, post = run_case(UNKNOWN, tmp_path, {"call": "ping"}, {"call": "post"})
    listed = orjson.loads(lexchange("reconcile", "list", "--json", *store_of(tmp_path)).stdout)
    assert [(lead["lead_id"], lead["state"]) for lead in listed] == [(post["lead_id"], "unknown")]
    assert listed[0]["attempts"][0]["buyer"] == "acme"
    mark = ("reconcile", action, post["lead_id"], "--note", "acme says so", *store_of(tmp_path))
    assert lexchange(*mark).stdout == f"{post['lead_id']} is {outcome} now\n"
    assert lexchange(*mark).returncode == 1
    assert lexchange("reconcile", "list", *store_of(tmp_path)).stdout == "nothing to reconcile\n"
    shown = orjson.loads(lexchange("show", post["lead_id"], "--json", *store_of(tmp_path)).stdout)
    assert shown["lead"]["state"] == outcome
    assert "acme says so" in str(shown["lead"])


def test_check_accepts(tmp_path: Path) -> None:
    """A good file is told as such; what only --dev allows is noted."""
    (tmp_path / "auto.yaml").write_bytes(campaign_of({}, "127.0.0.1:1"))
    checked = lexchange("check", f"{tmp_path}/auto.yaml")
    assert checked.returncode == 0
    assert "ok: auto (active, ping_post) 2 sources, 2 buyers" in checked.stdout
    assert "only `serve --dev` takes this:" in checked.stderr
    assert lexchange("check", f"{tmp_path}/auto.yaml", "--dev").stderr == ""


def test_check_refuses(tmp_path: Path) -> None:
    """Every problem at once, each at its file and line, with what was expected."""
    (tmp_path / "auto.yaml").write_text("campaign: Auto!\nstatus: open\nsources: []\n")
    refused = lexchange("check", str(tmp_path))
    assert refused.returncode == 1
    assert re.search(r"auto\.yaml:1: campaign: expected", refused.stderr)
    assert re.search(r"auto\.yaml:2: status: expected", refused.stderr)
    problems = orjson.loads(lexchange("check", str(tmp_path), "--json").stdout)
    assert problems == {"ok": False, "problems": refused.stderr.splitlines()}


def test_check_accepts_the_examples() -> None:
    """The commented examples can be served."""
    checked = lexchange("check", str(ROOT / "campaigns"), "--dev", ACME_TOKEN="Bearer secret")
    assert (checked.returncode, checked.stderr) == (0, "")


def test_key_opens_its_source(tmp_path: Path) -> None:
    """The hash that `key new` prints lets its key in, and no other; it depends on the pepper."""
    made = orjson.loads(lexchange("key", "new", "--json").stdout)
    assert re.fullmatch("lx_live_[0-9A-Za-z]+", made["key"])
    case = {"change": {"sources.SRC_MAIN.keys": [{"hash": made["hash"]}]}}
    right, wrong = run_case(
        case, tmp_path, {"call": "ping", "KEY": made["key"]}, {"call": "ping", "KEY": made["key"][:-1] + "?"}
    )
    assert (right["status"], wrong["reason"]) == ("accepted", "invalid_key")
    peppered = orjson.loads(lexchange("key", "new", "--json", LEXCHANGE_PEPPER="salt").stdout)
    assert "LEXCHANGE_PEPPER is not set" in lexchange("key", "new").stdout
    assert "LEXCHANGE_PEPPER is not set" not in lexchange("key", "new", LEXCHANGE_PEPPER="salt").stdout
    assert len(peppered["hash"]) == len(made["hash"])


def test_key_that_there_is_can_be_kept() -> None:
    """A publisher's present key gets its hash from standard input; one that may be mistyped or weak is told so."""
    made = orjson.loads(lexchange("key", "new", "--json").stdout)
    kept = lexchange("key", "hash", "--json", stdin=made["key"] + "\n")
    assert (orjson.loads(kept.stdout), kept.stderr) == ({"hash": made["hash"]}, "")
    assert "mistyped" in lexchange("key", "hash", stdin="live_key_value").stderr
    assert lexchange("key", "hash", stdin="\n").returncode == 1


def test_no_argument_is_told_what_there_is() -> None:
    """Without a command the usage names all of them."""
    refused = lexchange()
    assert refused.returncode == 2
    assert "usage: lexchange" in refused.stderr
    helped = lexchange("--help").stdout
    for command in ("serve", "demo", "check", "show", "reconcile", "key"):
        assert command in helped


def test_reader_who_has_seen_enough_is_no_error() -> None:
    """`lexchange show | head` ends in silence, whatever is left to be said."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    command = [sys.executable, "-m", "lexchange", "check", "campaigns/demo.yaml", "--dev"]
    done = subprocess.run(command, cwd=ROOT, stdout=write_end, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write_end)
    assert (done.returncode, done.stderr) == (141, "")


def test_base_campaign_is_what_the_cases_say() -> None:
    """The published example stands in the cases to the letter."""
    published = (ROOT / "lexchange" / "demo" / "calls.py").read_text()
    for value in BASE["calls"]["ping"]["data"].values():
        assert value in published
