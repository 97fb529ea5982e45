"""Log events: what a line holds, and what a log that takes no line may cost."""

import io
import json
from contextlib import suppress
from pathlib import Path

import orjson
import pytest

from lexchange import telemetry


def test_event_is_one_line_of_json(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its time, its name and its facts."""
    stream = io.StringIO()
    monkeypatch.setattr(telemetry, "_stream", stream)
    telemetry.log_event("lead_swept", lead_id="L-1", buyer="acme\nbright")
    (line,) = stream.getvalue().splitlines()
    event = orjson.loads(line)
    assert event.pop("time").endswith("Z")
    assert event == {"event": "lead_swept", "lead_id": "L-1", "buyer": "acme\nbright"}


def test_event_is_lost_when_the_log_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever tells of a failure is not failed by the telling."""
    count = 0
    with suppress(OSError), Path("/dev/full").open("w", buffering=1) as full:  # which cannot be closed in peace either
        monkeypatch.setattr(telemetry, "_stream", full)
        while count < 1_000:  # more than any buffer on the way holds
            telemetry.log_event("storage_error", error="database or disk is full")
            count += 1
    assert count == 1_000


def test_event_may_hold_any_text_and_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name of a file may be no UTF-8, and who tells of it must not end of it."""
    stream = io.StringIO()
    monkeypatch.setattr(telemetry, "_stream", stream)
    telemetry.log_event("reload_refused", problems="\udcff.yaml:1: é", count=1 << 70)
    event = json.loads(stream.getvalue())
    assert (event["problems"], event["count"]) == ("\udcff.yaml:1: é", 1 << 70)
