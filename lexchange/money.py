"""Money: text or a number becomes int micros (1 USD = 1_000_000) here, and text again.

Nobody else rounds, but payout when it shares a bid. It knows no currency: that is the campaign's.
"""

import re
from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction
from typing import TypeAlias

MICROS = 1_000_000
MAX_MICROS = 10**15  # one thousand million; far under what SQL and the proto can hold

Number: TypeAlias = str | int | float | Decimal

_MAX_UNITS = MAX_MICROS // MICROS
_UNIT_DIGITS, _MICRO_DIGITS = 9, 6
_MAX_CHARACTERS = 64
_MICRO = Decimal("0.000001")
_SHARE_STEP = Decimal("1e-12")
# Our own context: no caller's precision or traps change what a bid is worth.
_CONTEXT = Context(prec=40, rounding=ROUND_HALF_EVEN)

_PLAIN = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?", re.ASCII)
# Commas only where thousands have them: `1,5` is not fifteen.
_GROUPED = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d*)?", re.ASCII)


def parse_micros(value: Number) -> int:
    """Money as a plain decimal number, rounded half-even to a micro; raises ValueError.

    `"5.95"`, `5.95` and `Decimal("5.95")` are 5_950_000.
    """
    if type(value) is int:
        if 0 <= value <= _MAX_UNITS:
            return value * MICROS
        raise _not_money(value)
    text = repr(value) if type(value) is float else value
    if type(text) is str and (plain_micros := _plain_micros(text)) is not None:
        return plain_micros
    exact = _decimal(value)
    if exact is None or not 0 <= exact <= _MAX_UNITS + 1:
        raise _not_money(value)
    micros = int(exact.quantize(_MICRO, context=_CONTEXT).scaleb(6, context=_CONTEXT))
    if micros > MAX_MICROS:
        raise _not_money(value)
    return micros


def plain_micros(value: object) -> int | None:
    """What parse_bid makes of a plain number or text such as 5.95; None where it has to look closer."""
    if type(value) is float:
        return _plain_micros(repr(value))
    return _plain_micros(value) if type(value) is str else None


def _plain_micros(text: str) -> int | None:
    """Micros of digits with six decimal places at most, as nearly all money is written; None for any other text."""
    units, _, places = text.partition(".")
    if len(units) <= _UNIT_DIGITS and len(places) <= _MICRO_DIGITS and units.isdecimal() and text.isascii():
        if not places:
            return int(units) * MICROS
        if places.isdecimal():
            return int(units) * MICROS + int(places.ljust(_MICRO_DIGITS, "0"))
    return None


def parse_bid(value: object) -> int:
    """A buyer's bid or price as he wrote it, in micros; raises ValueError.

    Spaces around it, one leading `$` and commas between thousands are fine: `" $1,200.50 "` is 1_200_500_000.
    """
    if type(value) is float or type(value) is int:
        return parse_micros(value)
    if isinstance(value, str):
        text = value.strip().removeprefix("$").lstrip()
        if len(text) <= _MAX_CHARACTERS and _GROUPED.fullmatch(text):
            text = text.replace(",", "")
        return parse_micros(text)
    if isinstance(value, Decimal):
        return parse_micros(value)
    raise _not_money(value)


def format_micros(micros: int, min_places: int = 0) -> str:
    """The exact decimal, no trailing zeros beyond `min_places`: 7_225_000 is `7.225`, 6_000_000 is `6`."""
    units, rest = divmod(abs(micros), MICROS)
    places = f"{rest:06d}".rstrip("0").ljust(min_places, "0")
    sign = "-" if micros < 0 else ""
    return f"{sign}{units}.{places}" if places else f"{sign}{units}"


def parse_share(value: Number) -> Fraction:
    """A share of a bid, from 0 to 1, exactly as written; raises ValueError. `0.85` is 17/20."""
    exact = _decimal(value)
    if exact is None or not 0 <= exact <= 1 or exact != exact.quantize(_SHARE_STEP, context=_CONTEXT):
        raise ValueError(
            f"expected a share from 0 to 1 such as 0.85, with at most 12 decimal places, got {_shown(value)}"
        )
    return Fraction(exact)


def parse_number(text: str) -> Decimal | None:
    """The decimal that a plain number spells, such as `-12.50` or `1e3`; None for any other text."""
    return Decimal(text) if _PLAIN.fullmatch(text) else None


def _decimal(value: Number) -> Decimal | None:
    """The finite decimal that the value spells; None when it spells none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        return parse_number(value) if len(value) <= _MAX_CHARACTERS else None
    exact = value if isinstance(value, Decimal) else Decimal(str(value))
    return exact if exact.is_finite() else None


def _not_money(value: object) -> ValueError:
    return ValueError(f"expected an amount of money from 0 to {_MAX_UNITS}, got {_shown(value)}")


def _shown(value: object) -> str:
    """The value, short enough for an error line; an int of any size included."""
    if isinstance(value, int) and value.bit_length() > 1000:
        return "a huge number"
    text = repr(value)
    return text if len(text) <= _MAX_CHARACTERS else f"{text[: _MAX_CHARACTERS - 1]}…"
