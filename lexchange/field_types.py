"""Field types: what text a typed field may hold, and how that is told to the caller. Enums are the schema's business.

A value is passed on exactly as sent, so a type promises the buyer well-formed text: nothing is trimmed.
"""

import re
from collections.abc import Callable
from datetime import date, datetime
from ipaddress import ip_address
from typing import TypeAlias

import phonenumbers
from email_validator import SPECIAL_USE_DOMAIN_NAMES, EmailNotValidError, validate_email
from email_validator.rfc_constants import EMAIL_MAX_LENGTH

from lexchange.campaign import FieldType
from lexchange.money import parse_number
from lexchange.us_states import STATE_NAMES, state_code

Fits: TypeAlias = Callable[[str], bool]

_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)
_BOOLEANS = frozenset({"true", "false", "1", "0", "yes", "no"})
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_DATETIME = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?(?:Z|[+-]\d{2}:?\d{2})?", re.ASCII)
_ZIPCODE = re.compile(r"\d{5}(?:-\d{4})?", re.ASCII)
_URL = re.compile(
    r"""https?://
    (?:[^\s/?#@]*@)?                                 # user
    (?:\[[0-9a-f:.]+\] | \w(?:[\w.-]*\w)?\.?)        # host: IPv6, or a name in any script, or IPv4
    (?::\d{1,5})?
    (?:[/?#]\S*)?""",
    re.IGNORECASE | re.VERBOSE,
)

_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_LABELS = "(?:[A-Za-z0-9]{1,48}[.]){1,3}"
_RESERVED = "|".join(map(re.escape, SPECIAL_USE_DOMAIN_NAMES))
_END = r"(?![^\n])"  # of the line
_DAY = "[12][0-9]{3}-(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)"
_MINUTE = "(?:[01][0-9]|2[0-3]):[0-5][0-9]"

# What surely is of its type, as nearly every value is: told in one look, at a small part of what the whole truth costs.
# Each reads one line, without flags, in a time that grows as the line does.
PLAIN: dict[FieldType, str] = {
    FieldType.INTEGER: "[+-]?[0-9]+",
    FieldType.NUMBER: "[0-9]{1,15}(?:[.][0-9]{1,15})?",
    FieldType.BOOLEAN: "true|false|1|0|yes|no",
    FieldType.DATE: _DAY,
    FieldType.DATETIME: f"(?:{_DAY})[T ]{_MINUTE}(?::[0-5][0-9])?(?:Z|[+-]{_MINUTE})?",
    FieldType.EMAIL: "(?=[^@\\n]{1,64}@)[A-Za-z0-9_+-]+(?:[.][A-Za-z0-9_+-]+){0,4}@"
    f"(?!(?:[^@\\n]*[.])?(?i:{_RESERVED}){_END}){_LABELS}[A-Za-z]{{2,24}}",
    # Ten digits, or eleven from 1 on, however punctuated: a North American number.
    FieldType.PHONE: "(?:[+]?1)?(?:[ ().\\-/]*[0-9]){10}",
    FieldType.ZIPCODE: "[0-9]{5}(?:-[0-9]{4})?",
    FieldType.STATE: "|".join(STATE_NAMES),
    FieldType.URL: "https?://[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]{1,5})?(?:[/?#][!-~]*)?",
    FieldType.IP: f"{_OCTET}(?:[.]{_OCTET}){{3}}",
}
_PLAIN_EMAIL = re.compile(PLAIN[FieldType.EMAIL])
_PLAIN_PHONE = re.compile(PLAIN[FieldType.PHONE])
_PLAIN_IP = re.compile(PLAIN[FieldType.IP])

_PHONE = re.compile(r"\+?[\d ().\-/]+(?:(?:x|ext\.?) ?\d{1,6})?", re.ASCII | re.IGNORECASE)


def _is_number(value: str) -> bool:
    number = parse_number(value)
    return number is not None and number.adjusted() <= 307  # beyond, it is no finite JSON number for most readers


def _is_date(value: str) -> bool:
    return bool(_DATE.fullmatch(value)) and _parses(date.fromisoformat, value)


def _is_datetime(value: str) -> bool:
    return bool(_DATETIME.fullmatch(value)) and _parses(datetime.fromisoformat, value)


def _is_email(value: str) -> bool:
    if _PLAIN_EMAIL.fullmatch(value):
        return True
    if len(value) > EMAIL_MAX_LENGTH:  # the library says so too, after much work
        return False
    try:
        validate_email(value, check_deliverability=False)
    except EmailNotValidError:
        return False
    return True


def _is_phone(value: str) -> bool:
    if _PLAIN_PHONE.fullmatch(value):
        return True
    if not _PHONE.fullmatch(value):  # the library would find a number inside a sentence
        return False
    try:
        number = phonenumbers.parse(value, "US")
    except phonenumbers.NumberParseException:
        return False
    reason = phonenumbers.is_possible_number_with_reason(number)
    return bool(reason == phonenumbers.ValidationResult.IS_POSSIBLE)


def _is_ip(value: str) -> bool:
    return bool(_PLAIN_IP.fullmatch(value)) or ("%" not in value and _parses(ip_address, value))


def _parses(parse: Callable[[str], object], value: str) -> bool:
    try:
        parse(value)
    except ValueError:
        return False
    return True


# The check (None: any text) and what was expected.
FIELD_TYPES: dict[FieldType, tuple[Fits | None, str]] = {
    FieldType.STRING: (None, "text"),
    FieldType.INTEGER: (lambda value: bool(_INTEGER.fullmatch(value)), "a whole number, such as 42"),
    FieldType.NUMBER: (_is_number, "a number, such as 12.5"),
    FieldType.BOOLEAN: (lambda value: value.lower() in _BOOLEANS, "true, false, 1, 0, yes or no"),
    FieldType.DATE: (_is_date, "a date as YYYY-MM-DD"),
    FieldType.DATETIME: (_is_datetime, "an ISO 8601 date and time, such as 2026-11-24T09:30:00Z"),
    FieldType.EMAIL: (_is_email, "an e-mail address, such as name@example.com"),
    FieldType.PHONE: (_is_phone, "a phone number: 10 digits, or + and the country code"),
    FieldType.ZIPCODE: (lambda value: bool(_ZIPCODE.fullmatch(value)), "a US ZIP code, 90210 or 90210-1234"),
    FieldType.STATE: (lambda value: state_code(value) is not None, "a US state, CA or California"),
    FieldType.URL: (lambda value: bool(_URL.fullmatch(value)), "an http or https URL with a host"),
    FieldType.IP: (_is_ip, "an IPv4 or IPv6 address"),
}
