"""Log events, one JSON object a line on stderr. Names and ids only: never a key, never a lead's values."""

import json
import sys
import time
from contextlib import suppress
from typing import TextIO

_stream: TextIO = sys.stderr


def log_event(event: str, **facts: str | int | float | bool | None) -> None:
    """Write one event, e.g. `log_event("ping_rejected", reason="no_eligible_buyer", ping_id=…)`.

    One that cannot be written is lost: a full disk under the log is no reason to refuse a call, or to end. Nor is any
    text, such as a file's name that is no UTF-8: all but ASCII is escaped.
    """
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    line = json.dumps({"time": stamp, "event": event} | facts, separators=(",", ":"))
    with suppress(OSError):
        _stream.write(line + "\n")
