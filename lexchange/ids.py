"""Public tokens: prefix, 12 hex digits of epoch milliseconds, 20 hex digits (80 bits) of randomness.

Time leads, so that new rows land at the end of the index; the random part cannot be guessed.
"""

import re
import secrets
from collections.abc import Callable, Iterator

from lexchange.clock import Clock

RANDOM_BYTES = 10
POOL_IDS = 256
PING_ID = re.compile(r"PING-[0-9A-F]{13,64}")


def is_ping_id(text: str) -> bool:
    """Whether the text could be a ping_id at all; saves the store a look."""
    return PING_ID.fullmatch(text) is not None


class Ids:
    """Makes ids; tests hand in a `random_hex` that repeats."""

    def __init__(self, clock: Clock, random_hex: Callable[[int], str] | None = None) -> None:
        self._clock = clock
        self._random_hex = random_hex or secrets.token_hex
        self._pool: Iterator[str] = iter(())

    def ping_id(self) -> str:
        """`PING-…`, the token a source posts with."""
        return self._token("PING-")

    def lead_id(self) -> str:
        """`L-…`."""
        return self._token("L-")

    def delivery_id(self) -> str:
        """`DEL-…`, one per attempt to hand a lead to a buyer."""
        return self._token("DEL-")

    def _token(self, prefix: str) -> str:
        return f"{prefix}{self._clock.now_ms():012X}{next(self._pool, None) or self._refill()}"

    def _refill(self) -> str:
        """Asking the kernel costs more than everything else about an id, so many are drawn at once."""
        digits = self._random_hex(RANDOM_BYTES * POOL_IDS).upper()
        width = RANDOM_BYTES * 2
        self._pool = iter([digits[start : start + width] for start in range(0, len(digits), width)])
        return next(self._pool)
