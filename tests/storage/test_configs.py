"""Configurations in the store: what each says, and which one is in force."""

import asyncio
from pathlib import Path

import orjson
import pytest

from lexchange.catalog import Catalog
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


@pytest.mark.parametrize("last", ["one", "three"])
async def test_old_files_do_not_undo_what_comes_into_force_as_their_machine_starts(
    last: str, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """It has looked, and found its own files in force, or itself to be the last who spoke; then another one speaks."""
    here, elsewhere = (a_node(store, tmp_path / name) for name in ("here", "elsewhere"))
    here._node, elsewhere._node = "here", "elsewhere"
    for name in ("one", last):
        write(tmp_path / "here", name)
        assert await here.reload()
    write(tmp_path / "here", "one")
    write(tmp_path / "elsewhere", "two")
    look, looks = store.current_config, 0

    async def look_just_before_the_other_speaks() -> CurrentConfig | None:
        nonlocal looks
        found, looks = await look(), looks + 1
        if looks == 1:
            assert await elsewhere.reload()
        return found

    monkeypatch.setattr(store, "current_config", look_just_before_the_other_speaks)
    await a_restarted(here).begin(load(here._settings, Limits()))
    current = await look()
    assert current is not None
    assert (current.version, current.node) == (elsewhere._version, "elsewhere")


def a_restarted(node: Configuration) -> Configuration:
    again = Configuration(node._settings, Limits(), node._store, SystemClock())
    again._node = node._node
    return again


async def test_configuration_that_breaks_its_reader_is_refused(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Whatever breaks: what was served before is served on, and this is tried once."""
    node = a_node(store, tmp_path / "here")
    write(tmp_path / "here", "one")
    own = load(node._settings, Limits())
    await node.begin(own)
    await store.publish_config("other", b"no documents", summary="", node="elsewhere", now_ms=NOW_MS)
    taken: list[Catalog] = []

    def broken(packed: bytes, version: str) -> Catalog:
        raise RecursionError

    monkeypatch.setattr(node, "_compile", broken)
    async with node.followed(taken.append):
        async with asyncio.timeout(5):
            while node._seen is None or node._seen[0] < 2:  # noqa: ASYNC110 - the look is another part of this loop
                await asyncio.sleep(0.05)
    assert taken == []
    assert await a_restarted(node).begin(own) is own.catalog
