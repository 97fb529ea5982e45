"""`lexchange breaker`: an operator sees which buyer is left alone and why, and says that he is back."""

import asyncio
import re
from pathlib import Path

import orjson

from tests.commands.processes import lexchange
from tests.exchange.cases import Case, Names
from tests.exchange.running import exchange_for
from tests.exchange.transports import transport

DOWN: Case = {
    "change": {"buyers.acme.breaker": {"failures": 2, "pause_s": 3600, "max_pause_s": 3600}},
    "replies": {
        "acme.ping": [{"text": "<html>"}, {"text": "<html>"}, {"json": {"status": "ok", "bid": 7}}],
        "bright.ping": [{"text": "<html>"}],
    },
}


def test_operator_resets_a_breaker(tmp_path: Path) -> None:
    """The running exchange hears of it within a second; shadow breakers are listed as what they are."""
    store = ("--store", f"sqlite:///{tmp_path}/store.db")

    async def command(*arguments: str) -> str:
        done = await asyncio.to_thread(lexchange, "breaker", *arguments, *store)
        assert done.returncode == 0, done.stderr
        return done.stdout

    async def story() -> None:
        async with exchange_for(DOWN, tmp_path) as (server, buyers), transport("rest", server) as source:
            assert await command("list") == "no breaker has ever opened\n"
            for _ in range(5):
                await source.send(Names().call({"call": "ping"}))
            assert buyers.calls == {"acme.ping": 2, "bright.ping": 5}
            listed = (await command("list")).splitlines()
            at = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} UTC"
            assert re.fullmatch(f"auto/acme ping  open since {at}, until {at}: 2 failures in a row", listed[0])
            shadow = "in shadow: he is asked all the same"
            assert re.fullmatch(
                f"auto/bright ping  open since {at}, until {at}, {shadow}: 5 failures in a row", listed[1]
            )
            (acme, _) = orjson.loads(await command("list", "--json"))
            assert (acme["state"], acme["is_enforced"], acme["why"]) == ("open", True, "2 failures in a row")

            assert await command("reset", "auto/acme") == "auto/acme is asked again\n"
            await asyncio.sleep(1.1)
            _, answer = await source.send(Names().call({"call": "ping"}))
            assert (answer["status"], buyers.calls["acme.ping"]) == ("accepted", 3)
            assert "auto/acme ping  closed since" in await command("list")
            recent = await asyncio.to_thread(lexchange, "show", "--recent", "2", *store, "--json")
            ping_id = orjson.loads(recent.stdout)[-1]["ping_id"]
            shown = await asyncio.to_thread(lexchange, "show", ping_id, *store)
            assert "not asked: breaker_open, his pings: 2 failures in a row" in shown.stdout

    asyncio.run(story())


def test_reset_of_a_buyer_that_never_failed(tmp_path: Path) -> None:
    """A mistyped name is told."""

    async def story() -> None:
        async with exchange_for(DOWN, tmp_path):
            done = await asyncio.to_thread(
                lexchange, "breaker", "reset", "auto/amce", "--store", f"sqlite:///{tmp_path}/store.db"
            )
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == "auto/amce: expected CAMPAIGN/BUYER as lexchange breaker list shows it\n"

    asyncio.run(story())
