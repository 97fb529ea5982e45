"""Transforms, compiled: each step takes the text so far and gives another, or None where it makes no sense.

Pure. A step's arguments are checked when it is compiled, so that a lead meets no step that cannot work.
"""

import hashlib
import re
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import TypeAlias
from zoneinfo import ZoneInfo

import phonenumbers

from lexchange.buyers.date_patterns import ISO, compile_pattern
from lexchange.money import parse_number
from lexchange.transforms import Transform, TransformName
from lexchange.us_states import STATE_NAMES, state_code

Step: TypeAlias = Callable[[str, int], str | None]  # text, now in epoch ms
Text: TypeAlias = Callable[[str], str | None]


def compile_transforms(transforms: Iterable[Transform]) -> Step:
    """All steps as one; it ends early with None, or with "" where nothing is left. Raises ValueError saying why."""
    steps = tuple(TRANSFORMS[each.name](*each.arguments) for each in transforms)

    def transform(text: str | None, now_ms: int) -> str | None:
        for step in steps:
            if not text:
                break
            text = step(text, now_ms)
        return text

    return transform


def _plain(change: Text) -> Callable[[], Step]:
    """A step without arguments that does not look at the time."""
    return lambda: lambda text, _: change(text)


# ------------------------------------------------------------------------------------------------------------ texts

# The first letter of each word, and one after an apostrophe that begins a name (O'Neil), but not an ending (John's).
_INITIAL = re.compile(r"(?:^|(?<=[\s.(/&-]))[^\W\d_]|(?<=')[^\W\d_](?=[^\W\d_])")


def _title(text: str) -> str:
    return _INITIAL.sub(lambda found: found[0].upper(), text.lower())


def _digits(text: str) -> str:
    return "".join(char for char in text if char in "0123456789")


def _state_name(text: str) -> str | None:
    code = state_code(text.strip())
    return STATE_NAMES[code] if code else None


def _first(count: int) -> Step:
    return lambda text, _: text[:count]


def _last(count: int) -> Step:
    return lambda text, _: text[-count:]


def _prefix(prefix: str) -> Step:
    return lambda text, _: prefix + text


def _suffix(suffix: str) -> Step:
    return lambda text, _: text + suffix


def _replace(found: str, put: str) -> Step:
    return lambda text, _: text.replace(found, put)


def _split(separator: str, part: int) -> Step:
    """Part 0 is the first, -1 the last; nothing where there are fewer."""

    def split(text: str, _: int) -> str:
        parts = text.split(separator)
        return parts[part].strip() if -len(parts) <= part < len(parts) else ""

    return split


def _round(places: int) -> Step:
    """Half a unit goes away from zero, as on an invoice."""
    unit = Decimal(1).scaleb(-places)

    def round_half_up(text: str, _: int) -> str | None:
        number = parse_number(text.strip())
        if number is None or number.adjusted() + places >= _EXACT_DIGITS:
            return None
        return f"{number.quantize(unit, ROUND_HALF_UP):f}"

    return round_half_up


_EXACT_DIGITS = 27  # within decimal's precision of 28


# ----------------------------------------------------------------------------------------------------------- hashes


def _hash(name: str) -> Callable[[], Step]:
    """Of the text's UTF-8, in lower-case hexadecimal digits."""
    return _plain(lambda text: hashlib.new(name, text.encode(), usedforsecurity=False).hexdigest())


# ----------------------------------------------------------------------------------------------------------- phones

# A North American number, however punctuated; the library decides about every other one, at fifty times the cost.
_US_PHONE = re.compile(r"\s*(?:\+?1)?(?:[ ().\-/]*\d){10}\s*", re.ASCII)
_US_DIGITS = 10


def _phone(text: str, region: str) -> phonenumbers.PhoneNumber | None:
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return None
    reason = phonenumbers.is_possible_number_with_reason(number)
    return number if reason == phonenumbers.ValidationResult.IS_POSSIBLE else None


def _check_region(region: str) -> None:
    if region not in phonenumbers.SUPPORTED_REGIONS:
        raise ValueError(f"expected a country of two letters, such as US; got {region}")


def _e164(region: str = "US") -> Step:
    """`+16175550123`."""
    _check_region(region)

    def e164(text: str, _: int) -> str | None:
        if region == "US" and _US_PHONE.fullmatch(text):
            return f"+1{_digits(text)[-_US_DIGITS:]}"
        number = _phone(text, region)
        return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164) if number else None

    return e164


def _national(region: str = "US") -> Step:
    """The digits of `6175550123`, without country and trunk code; only of a number of that country."""
    _check_region(region)
    country = phonenumbers.country_code_for_region(region)

    def national(text: str, _: int) -> str | None:
        if region == "US" and _US_PHONE.fullmatch(text):
            return _digits(text)[-_US_DIGITS:]
        number = _phone(text, region)
        if number is None or number.country_code != country:
            return None
        return phonenumbers.national_significant_number(number)

    return national


# ------------------------------------------------------------------------------------------------------------ dates


def _reader(pattern: str) -> Callable[[str], date | None]:
    read = compile_pattern(pattern).read
    if read is None:
        raise ValueError(f"expected a date pattern with year, month and day; got {pattern}")
    return read


def _date(to: str, written: str = ISO, zone: str = "") -> Step:
    """A date or time in another form. `zone` moves a time that tells its offset; a plain date stays the day it is."""
    read, write = _reader(written), compile_pattern(to).write
    zone_info = ZoneInfo(zone) if zone else None

    def reformat(text: str, _: int) -> str | None:
        found = read(text.strip())
        if found is None:
            return None
        if zone_info is not None and isinstance(found, datetime) and found.tzinfo is not None:
            try:
                found = found.astimezone(zone_info)
            except OverflowError:  # it would be before the year 1 there, or after 9999
                return None
        return write(found)

    return reformat


def _age(zone: str = "UTC", written: str = ISO) -> Step:
    """Whole years on today's date in the zone; who was born on 29 February has his birthday on 1 March."""
    read = _reader(written)
    zone_info = ZoneInfo(zone)

    def age(text: str, now_ms: int) -> str | None:
        born = read(text.strip())
        if born is None:
            return None
        today = datetime.fromtimestamp(now_ms / 1000, zone_info)
        years = today.year - born.year - ((today.month, today.day) < (born.month, born.day))
        return str(years) if years >= 0 else None

    return age


def _epoch(unit: timedelta) -> Callable[[], Step]:
    """Units since 1970; a date is its midnight, and what tells no offset is UTC."""
    read = _reader(ISO)

    def epoch(text: str) -> str | None:
        found = read(text.strip())
        if found is None:
            return None
        if not isinstance(found, datetime):
            found = datetime(found.year, found.month, found.day, tzinfo=UTC)
        elif found.tzinfo is None:
            found = found.replace(tzinfo=UTC)
        return str((found - _EPOCH) // unit)

    return _plain(epoch)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

TRANSFORMS: dict[TransformName, Callable[..., Step]] = {
    TransformName.TRIM: _plain(str.strip),
    TransformName.UPPER: _plain(str.upper),
    TransformName.LOWER: _plain(str.lower),
    TransformName.TITLE: _plain(_title),
    TransformName.DIGITS: _plain(_digits),
    TransformName.STATE_CODE: _plain(lambda text: state_code(text.strip())),
    TransformName.STATE_NAME: _plain(_state_name),
    TransformName.EPOCH: _epoch(timedelta(seconds=1)),
    TransformName.EPOCH_MS: _epoch(timedelta(milliseconds=1)),
    TransformName.MD5: _hash("md5"),
    TransformName.SHA1: _hash("sha1"),
    TransformName.SHA256: _hash("sha256"),
    TransformName.AGE: _age,
    TransformName.E164: _e164,
    TransformName.NATIONAL: _national,
    TransformName.DATE: _date,
    TransformName.FIRST: _first,
    TransformName.LAST: _last,
    TransformName.PREFIX: _prefix,
    TransformName.SUFFIX: _suffix,
    TransformName.REPLACE: _replace,
    TransformName.SPLIT: _split,
    TransformName.ROUND: _round,
}
