"""Cases: a campaign, what its buyers answer, the calls of sources and what each must be told. Read from tests/cases.

{
  "name": …, "rule": one sentence,
  "change": {"routing.ping_ttl_s": 1, "buyers.acme.filters": […]},   against base.json; lists by their elements' ids
  "limits": {"in_flight": 1},                                         against lexchange.config.Limits
  "replies": {"acme.ping": [{…}, …]},                                 see scripted_buyers.py; added to base.json's
  "steps": [{"call": "ping", "data": {…}, "expect": {…}}, …],
  "calls": {"acme.ping": 1}                                           what each buyer's endpoint got, all together
  "received": {"acme.post": {…}}                                      members of the last request there
}

A step's `data` changes the published example's; "SRC", "KEY" and "ping_id" likewise; "$absent" takes one away and
"…$text:7" ends in seven letters. `field_count` fills data up, `pad_to` the whole body. `body` is a whole body instead,
`text` its bytes, `headers` go with it, `times` repeats it, `wait_ms` comes before it; `on_the_second` waits for the
beginning of one.
`expect` holds every member of the answer but `message`, which must be there with every no; `http` is 200 unless given.
"$ping_id", "$lead_id" and "$delivery_id" (and "$ping_id.second" and so on) stand for an id: its form is checked, and it
is the same wherever its name is; "$ping_id.*" is any.
"""

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from tests.exchange.transports import Answer, Call

FOLDER = Path(__file__).parents[1] / "cases"
BASE = orjson.loads((FOLDER / "base.json").read_bytes())
ENDPOINTS = ("ping", "post", "direct_post")
ABSENT = "$absent"
LONG_TEXT = re.compile(r"(.*)\$text:(\d+)")
IDS = {
    "ping_id": re.compile("PING-[0-9A-F]{13,}"),
    "lead_id": re.compile("L-[0-9A-F]{14,}"),
    "delivery_id": re.compile("DEL-[0-9A-F]{14,}"),
}
Case = dict[str, Any]


def all_cases() -> Iterator[tuple[str, Case]]:
    """Every case as (folder/file: name, case)."""
    for folder in ENDPOINTS:
        for file in sorted((FOLDER / folder).glob("*.json")):
            for case in orjson.loads(file.read_bytes()):
                unknown = case.keys() - {"name", "rule", "change", "limits", "replies", "steps", "calls", "received"}
                assert not unknown, f"{file.name}: {case['name']}: {unknown}"
                yield f"{folder}/{file.stem}: {case['name']}", case


def campaign_of(case: Case, address: str) -> bytes:
    """The campaign file of a case, its buyers at `address`."""
    campaign = copy.deepcopy(BASE["campaign"])
    for path, value in case.get("change", {}).items():
        *parents, last = path.split(".")
        place = campaign
        for name in parents:
            place = _member(place, name)
        if isinstance(place, list):
            place.remove(_member(place, last))
        elif value == ABSENT:
            place.pop(last)
        else:
            place[last] = value
    return orjson.dumps(campaign).replace(b"{buyers}", address.encode())


def replies_of(case: Case) -> dict[str, list[Any]]:
    """What each buyer's endpoint answers."""
    return copy.deepcopy(BASE["replies"] | case.get("replies", {}))


def _member(place: Any, name: str) -> Any:
    if isinstance(place, dict):
        return place.setdefault(name, {})
    return next(each for each in place if name in (each.get("buyer"), each.get("src"), each.get("name")))


class Names:
    """The ids that stand behind "$…" in one run of a case."""

    def __init__(self) -> None:
        self._ids: dict[str, str] = {}

    def call(self, step: dict[str, Any]) -> Call:
        """The call of a step."""
        headers = step.get("headers", {})
        if "text" in step or "body" in step:
            return Call(name=step["call"], body=step.get("body"), text=step.get("text"), headers=headers)
        body = copy.deepcopy(BASE["calls"][step["call"]])
        _change(body["data"], step.get("data", {}))
        _change(body, {name: step[name] for name in ("SRC", "KEY", "ping_id") if name in step})
        if body.get("ping_id") in self._ids:
            body["ping_id"] = self._ids[body["ping_id"]]
        missing = step.get("field_count", 0) - len(body["data"])
        body["data"] |= {f"x{number}": "" for number in range(missing)}
        text = orjson.dumps(body).decode().ljust(step["pad_to"]) if "pad_to" in step else None
        return Call(name=step["call"], body=body, text=text, headers=headers)

    def check(self, status: int, answer: Answer, expected: dict[str, Any]) -> None:
        """Compare an answer with what a step expects."""
        expected = dict(expected)
        assert (status, answer) == (expected.pop("http", 200), answer)
        if answer["status"] not in ("accepted", "delivered"):
            assert answer.pop("message"), "a no says why"
        for problem in answer.get("errors", ()):
            assert problem.pop("message"), "a problem says what was expected"
        if "errors" in expected:
            expected["errors"] = [dict(zip(("field", "code"), pair, strict=True)) for pair in expected["errors"]]
        for name, pattern in IDS.items():
            if name in answer and name in expected:
                assert pattern.fullmatch(answer[name]), f"{name} {answer[name]}"
                is_any = expected[name].endswith(".*")
                expected[name] = answer[name] if is_any else self._ids.setdefault(expected[name], answer[name])
        assert answer == expected


def _change(place: dict[str, Any], changes: dict[str, Any]) -> None:
    for name, value in changes.items():
        if value == ABSENT:
            place.pop(name, None)
        elif isinstance(value, str) and (found := LONG_TEXT.fullmatch(value)):
            place[name] = found[1] + int(found[2]) * "x"
        else:
            place[name] = value
