"""What the exchange raises.

LexchangeError
├── RequestRefused   the caller may not proceed; carries its Reason
├── ConfigError      a campaign file or a setting is wrong; says where and what was expected
└── StorageError     the store cannot keep its promise now; never turned into a positive answer
"""

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
