"""Transforms: how an operator has a value rewritten on its way to a buyer. Pure values.

`buyers/transforms.py` compiles them.
"""

from dataclasses import dataclass
from enum import StrEnum


class TransformName(StrEnum):
    """What can be done to a text. Those after the first group take arguments."""

    TRIM = "trim"
    UPPER = "upper"
    LOWER = "lower"
    TITLE = "title"
    DIGITS = "digits"
    STATE_CODE = "state_code"
    STATE_NAME = "state_name"
    EPOCH = "epoch"
    EPOCH_MS = "epoch_ms"
    MD5 = "md5"
    SHA1 = "sha1"
    SHA256 = "sha256"

    AGE = "age"
    E164 = "e164"
    NATIONAL = "national"

    DATE = "date"
    FIRST = "first"
    LAST = "last"
    PREFIX = "prefix"
    SUFFIX = "suffix"
    REPLACE = "replace"
    SPLIT = "split"
    ROUND = "round"


@dataclass(frozen=True, slots=True, kw_only=True)
class Transform:
    """One step. `arguments` are those of the function of that name in `buyers/transforms.py`, in its order."""

    name: TransformName
    arguments: tuple[str | int, ...] = ()
