"""Keys: how a source's KEY is made, recognised and compared. Only its HMAC is ever kept."""

import functools
import hmac
import re
import secrets
import string
import zlib
from typing import Literal

from lexchange.campaign import SourceKey

RANDOM_BYTES = 32

_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase  # base62, in ASCII order
_RANDOM_DIGITS = 43  # 62 ** 43 > 2 ** 256
_CHECK_DIGITS = 6  # 62 ** 6 > 2 ** 32
_SHAPE = re.compile(rf"lx_(?:live|test)_[0-9A-Za-z]{{{_RANDOM_DIGITS + _CHECK_DIGITS}}}", re.ASCII)
_NOBODYS_KEYS = (SourceKey(hmac_hex="0" * 64),)


def hash_key(key: str, pepper: bytes) -> str:
    """The hex HMAC-SHA-256 of a key under the pepper. One round is enough: our keys hold 256 random bits."""
    mac = _keyed(pepper).copy()  # hmac.digest() lets go of the interpreter lock, which a busy store then takes
    mac.update(key.encode("utf-8", "surrogatepass"))
    return mac.hexdigest()


def new_key(kind: Literal["live", "test"] = "live") -> str:
    """A fresh key: `lx_live_`, 43 base62 digits of 32 random bytes, 6 of a checksum."""
    body = f"lx_{kind}_" + _base62(int.from_bytes(secrets.token_bytes(RANDOM_BYTES)), _RANDOM_DIGITS)
    return body + _checksum(body)


def is_well_formed(key: str) -> bool:
    """Whether the text is a key of ours, unharmed: leaks and slips are recognised without a look-up."""
    if not _SHAPE.fullmatch(key):
        return False
    body, check = key[:-_CHECK_DIGITS], key[-_CHECK_DIGITS:]
    return check == _checksum(body)


def matches(key: str, source_keys: tuple[SourceKey, ...], pepper: bytes) -> bool:
    """Whether the key is one of the source's.

    All are compared, and one that nobody has where there is none, so that the time taken tells neither which
    key fits nor whether the source exists.
    """
    given = hash_key(key, pepper)
    is_match = False
    for source_key in source_keys or _NOBODYS_KEYS:
        is_match |= hmac.compare_digest(given, source_key.hmac_hex)
    return is_match and bool(source_keys)


@functools.lru_cache(maxsize=4)
def _keyed(pepper: bytes) -> hmac.HMAC:
    return hmac.new(pepper, digestmod="sha256")


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode("ascii")), _CHECK_DIGITS)


def _base62(number: int, width: int) -> str:
    digits = []
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))
