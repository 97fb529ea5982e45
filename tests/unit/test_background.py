import asyncio

import pytest

from lexchange import background as module
from lexchange.background import Background, beside, describe, keep_on
from lexchange.errors import ConfigError, RequestRefused, StorageError
from lexchange.reasons import Reason


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = []
    monkeypatch.setattr(module, "log_event", lambda event, **facts: found.append((event, facts["error"])))
    return found


async def fail() -> None:
    raise ValueError("sam.carter@example.com")


async def test_who_awaits_a_task_gets_its_result_and_its_error(events) -> None:
    """A task is a task: shielding it loses neither."""

    async def answer() -> int:
        return 7

    background = Background()
    assert await background.spawn(answer()) == 7
    with pytest.raises(ValueError, match="sam"):
        await background.spawn(fail())


async def test_error_that_nobody_awaits_is_logged_by_its_type(events) -> None:
    """An error's text may hold a lead; its type does not."""
    background = Background()
    background.spawn(fail())
    assert await background.drain(1) == 0
    assert events == [("background_error", "ValueError")]


async def test_refusal_is_an_answer(events) -> None:
    """A call that is refused has not broken: an operator hears nothing of it."""

    async def refuse() -> None:
        raise RequestRefused(Reason.REQUEST_IN_FLIGHT)

    with pytest.raises(RequestRefused):
        await Background().spawn(refuse())
    assert events == []


async def test_drain_waits_for_what_runs_and_for_what_that_begins(events) -> None:
    """A task that starts another one while draining is waited for as well."""
    done: list[str] = []
    background = Background()

    async def second() -> None:
        await asyncio.sleep(0.01)
        done.append("second")

    async def first() -> None:
        await asyncio.sleep(0.01)
        background.spawn(second())
        done.append("first")

    background.spawn(first())
    assert await background.drain(1) == 0
    assert done == ["first", "second"]


async def test_drain_cuts_off_what_outlasts_the_grace(events) -> None:
    """After the grace the rest is cancelled and counted; being cut off is no error."""
    background = Background()
    tasks = [background.spawn(asyncio.sleep(60)) for _ in range(2)]
    assert await background.drain(0.01) == 2
    assert all(task.cancelled() for task in tasks)
    assert events == []


async def test_drain_of_nothing_is_over_at_once(events) -> None:
    """An idle process stops at once."""
    assert await Background().drain(60) == 0


async def test_error_comes_out_as_it_is_where_work_goes_on_beside() -> None:
    """Who opens a port that is taken reads a line about it, not a group of one error; the work has ended by then."""
    ended = asyncio.Event()

    async def go_on() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    async def listen() -> None:
        async with beside(go_on()):
            await asyncio.sleep(0)
            raise ConfigError("taken")

    with pytest.raises(ConfigError, match="taken"):
        await listen()
    assert ended.is_set()


async def test_block_ends_when_the_work_beside_it_breaks() -> None:
    """Nothing goes on without it, and its error is told."""
    with pytest.raises(ValueError, match="sam"):
        async with beside(fail()):
            await asyncio.sleep(60)


async def test_turn_that_breaks_costs_that_turn(events) -> None:
    """Whatever it broke of. The same again is told when something else, or a turn that went well, was in between."""
    turns = [StorageError("full"), StorageError("full"), KeyError("sam.carter@example.com"), None, StorageError("full")]
    done = asyncio.Event()

    async def turn() -> None:
        if not turns:
            done.set()
        elif (error := turns.pop(0)) is not None:
            raise error

    async with beside(keep_on(0, turn, "turn_failed")):
        await asyncio.wait_for(done.wait(), 5)
    (_, first), (_, second), (_, third) = events
    assert (first, third) == ("full", "full")
    assert second.startswith("KeyError at test_background.py:")


async def test_what_goes_on_is_told_again_after_a_while(events, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who reads only the end of the log reads of it, too."""
    monkeypatch.setattr(module, "QUIET_S", 0)
    count = 0
    done = asyncio.Event()

    async def turn() -> None:
        nonlocal count
        count += 1
        if count == 4:
            done.set()
        raise StorageError("full")

    async with beside(keep_on(0, turn, "turn_failed")):
        await asyncio.wait_for(done.wait(), 5)
    assert len(events) >= 3


def test_an_error_is_told_without_what_it_may_hold_of_a_lead() -> None:
    """Ours are written to be read; another's text is whatever it was made of."""
    assert describe(StorageError("database or disk is full")) == "database or disk is full"
    assert describe(ValueError("sam.carter@example.com")) == "ValueError"
