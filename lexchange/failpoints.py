"""Fail points: places where a test has the process killed, as by `kill -9`. Nothing happens there otherwise.

`LEXCHANGE_FAILPOINT=claim_committed:7` kills it the seventh time that it gets there.
"""

import os
import signal

POINTS = (
    "ping_before_record",
    "ping_recorded",
    "claim_before",
    "claim_committed",
    "post_before_send",
    "request_sent",
    "post_answered",
    "attempt_before",
    "attempt_committed",
    "finish_committed",
    "answer_before_remember",
    "answer_remembered",
    "commit_before",
    "commit_after",
)

_wanted, _, _count = os.environ.get("LEXCHANGE_FAILPOINT", "").partition(":")
_left = int(_count or 1)


def _count_down(point: str) -> None:
    global _left
    if point == _wanted:
        _left -= 1
        if _left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def _pass(point: str) -> None:
    """Not under test."""


reach = _count_down if _wanted else _pass
