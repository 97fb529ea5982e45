"""Configurations in the store: what each says, and which one is in force."""

import asyncio
from pathlib import Path

import orjson

from lexchange.clock import SystemClock
from lexchange.config import Limits, Settings
from lexchange.configuration import Configuration, load
from lexchange.storage import ConfigVersion, CurrentConfig, Store
from lexchange.storage.connector import Statement
from tests.exchange.cases import campaign_of
from tests.exchange.transports import wait_until
from tests.storage.examples import NOW_MS


def a_node(store: Store, folder: Path) -> Configuration:
    settings = Settings(config=folder, store="", grpc="", http="", pepper=b"", is_dev=True)
    return Configuration(settings, Limits(), store, SystemClock())


def write(folder: Path, name: str) -> None:
    """Its campaign, under this name."""
    folder.mkdir(exist_ok=True)
    campaign = orjson.loads(campaign_of({}, "127.0.0.1:1"))
    (folder / "auto.yaml").write_bytes(orjson.dumps(campaign | {"campaign": name}))


async def publish(store: Store, version: str, *, node: str = "one", now_ms: int = NOW_MS) -> None:
    await store.publish_config(version, version.encode(), summary="home, auto", node=node, now_ms=now_ms)


async def test_nothing_is_in_force_before_the_first(store: Store):
    """An empty store says so."""
    assert await store.current_config() is None
    assert await store.find_config("v1") is None
    assert await store.audit.configs() == []


async def test_last_one_is_in_force(store: Store):
    """Each change is a generation; what an earlier one said stays known."""
    await publish(store, "v1")
    await publish(store, "v2", node="two", now_ms=NOW_MS + 5)
    current = CurrentConfig(generation=2, version="v2", published_ms=NOW_MS + 5, node="two")
    assert await store.current_config() == current
    assert [await store.find_config(each) for each in ("v1", "v2", "v3")] == [b"v1", b"v2", None]
    assert await store.audit.configs() == [
        ConfigVersion(version="v1", loaded_ms=NOW_MS, summary="home, auto", has_documents=True),
        ConfigVersion(version="v2", loaded_ms=NOW_MS + 5, summary="home, auto", has_documents=True),
    ]


async def test_going_back_is_a_change_too(store: Store):
    """An earlier version comes into force again under its name, and a new generation."""
    for version in ("v1", "v2", "v1"):
        await publish(store, version)
    current = await store.current_config()
    assert current is not None
    assert (current.version, current.generation) == ("v1", 3)


async def test_many_who_say_the_same_make_one_change(url: str, store: Store):
    """The workers of a node all publish what its files say."""
    async with Store.open(url) as other:
        await asyncio.gather(*(publish(each, "v1", now_ms=NOW_MS + n) for n in range(20) for each in (store, other)))
        await asyncio.gather(*(publish(each, "v2", now_ms=NOW_MS + n) for n in range(20) for each in (store, other)))
        assert await other.current_config() == await store.current_config()
    current = await store.current_config()
    assert current is not None
    assert (current.version, current.generation) == ("v2", 2)


async def test_number_that_is_given_again_is_another_generation(store: Store, tmp_path: Path):
    """A store that has lost the latest generation gives its number to another version: that one is followed, too."""
    here, elsewhere = (a_node(store, tmp_path / name) for name in ("here", "elsewhere"))
    write(tmp_path / "here", "one")
    await here.begin(load(here._settings, Limits()))
    served: list[str] = []
    async with here.followed(lambda catalog: served.append(catalog.campaigns[0].campaign)):
        for campaign, is_lost in (("two", False), ("three", True)):
            if is_lost:
                unit = (Statement(sql="UPDATE current_configuration SET generation = 1"),)
                await store._connector.write(unit)
            write(tmp_path / "elsewhere", campaign)
            assert await elsewhere.reload()
            current = await store.current_config()
            assert current is not None
            assert current.generation == 2
            await wait_until(lambda wanted=campaign: served[-1:] == [wanted])
    assert served == ["two", "three"]
