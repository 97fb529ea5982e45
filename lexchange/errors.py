"""What the exchange raises.

LexchangeError
├── RequestRefused   the caller may not proceed; carries its Reason
├── ConfigError      a campaign file or a setting is wrong; says where and what was expected
└── StorageError     the store cannot keep its promise now; never turned into a positive answer
"""

from pathlib import Path

from lexchange.reasons import Reason


class LexchangeError(Exception):
    """Root of everything raised on purpose."""


class RequestRefused(LexchangeError):
    """The call may not proceed: bad shape, bad credentials, overload, a reused idempotency key."""

    def __init__(self, reason: Reason, message: str = "", fields: tuple[str, ...] = ()) -> None:
        super().__init__(message or reason.message)
        self.reason = reason
        self.message = message or reason.message
        self.fields = fields


class ConfigError(LexchangeError):
    """A configuration that cannot be used. Its text is one line per problem, `file:line: what was expected`."""


class StorageError(LexchangeError):
    """The store failed; whether the write happened is not known."""


def raised_at(error: BaseException) -> str:
    """`file.py:12`, for a log that must not repeat the error's text; empty where nobody has raised it."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    return f"{Path(last.tb_frame.f_code.co_filename).name}:{last.tb_lineno}" if last else ""
