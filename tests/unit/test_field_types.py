import pytest
from email_validator import EmailNotValidError, validate_email
from hypothesis import given
from hypothesis import strategies as st

from lexchange.campaign import FieldType
from lexchange.field_types import FIELD_TYPES
from tests.cost import CHEAP_S, cpu_s


def fits(kind: FieldType, value: str) -> bool:
    check, _ = FIELD_TYPES[kind]
    return check is None or check(value)


def test_every_type_but_enum_is_in_the_table_when_a_file_may_name_it() -> None:
    """No type of the contract is forgotten; an enum's values are its schema's."""
    assert set(FIELD_TYPES) == set(FieldType) - {FieldType.ENUM}


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        *[(FieldType.STRING, value) for value in ("x", "1", " x ", "日本")],
        *[(FieldType.INTEGER, value) for value in ("0", "42", "-7", "+7", "007", "9" * 30)],
        *[(FieldType.NUMBER, value) for value in ("0", "12.5", "-.5", "5.", "1e3", "1e+22", "-1E-7", "9" * 300)],
        *[(FieldType.BOOLEAN, value) for value in ("true", "False", "1", "0", "YES", "no")],
        *[(FieldType.DATE, value) for value in ("2026-11-24", "2028-02-29", "0001-01-01")],
        (FieldType.DATETIME, "2026-11-24T09:30:00Z"),
        (FieldType.DATETIME, "2026-11-24T09:30:00.123456+05:30"),
        (FieldType.DATETIME, "2026-11-24 09:30"),
        (FieldType.DATETIME, "2026-11-24T09:30:00-0500"),
        *[(FieldType.EMAIL, value) for value in ("sam.carter@example.com", "a+b_c-d@sub.example.co", "x@y.museum")],
        *[(FieldType.EMAIL, value) for value in ("o'brien@example.com", "jürgen@müller.de", "a@my-shop.com")],
        *[(FieldType.PHONE, value) for value in ("3105550102", "13105550102", "+13105550102", "1-310-555-0102")],
        *[(FieldType.PHONE, value) for value in ("(310) 555-0102", "310.555.0102", "+1 (310) 555-0102")],
        *[(FieldType.PHONE, value) for value in ("310 555 0102 x12", "+44 20 7946 0958", "0000000000")],
        *[(FieldType.ZIPCODE, value) for value in ("90210", "00501", "90210-1234")],
        *[(FieldType.STATE, value) for value in ("CA", "ca", "California", "new york", "DC", "PR", "Puerto Rico")],
        *[(FieldType.STATE, value) for value in ("district of columbia", "VI", "U.S. Virgin Islands", "AE")],
        *[(FieldType.URL, value) for value in ("https://example.com", "HTTP://EXAMPLE.COM:8080/a?b=c#d")],
        *[(FieldType.URL, value) for value in ("http://192.168.1.10/", "http://[2001:db8::1]:80/x", "https://a.b?x")],
        *[(FieldType.URL, value) for value in ("https://müller.de/ü", "http://user:pw@host/", "http://localhost")],
        *[(FieldType.IP, value) for value in ("192.168.1.10", "2001:db8::1", "::1", "::ffff:1.2.3.4")],
    ],
)
def test_type_accepts_when_the_text_is_well_formed(kind, value) -> None:
    """What a type stands for passes, in every usual spelling."""
    assert fits(kind, value)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        *[(FieldType.INTEGER, value) for value in ("1.0", "1e3", "+", "4 2", "1,000", "٣", " 1", "1\n")],
        *[(FieldType.NUMBER, value) for value in ("nan", "inf", "1e999", "9" * 309, "1,5", ".", "0x1", "1_0", "1 ")],
        *[(FieldType.BOOLEAN, value) for value in ("y", "t", "on", "2", "yes ")],
        *[(FieldType.DATE, value) for value in ("2026-02-29", "2026-13-01", "20261124", "11/24/2026", "2026-1-1")],
        *[(FieldType.DATE, value) for value in ("2026-11-24T00:00", "2026-W48-2", "0000-01-01")],
        *[(FieldType.DATETIME, value) for value in ("2026-11-24", "2026-11-24T25:00:00Z", "2026-02-29T10:00:00")],
        *[(FieldType.DATETIME, value) for value in ("2026-11-24x09:30:00", "now", "1795500000", "2026-11-24T09")],
        *[(FieldType.EMAIL, value) for value in ("sam", "sam@", "@example.com", "sam@localhost", "a..b@x.com")],
        *[(FieldType.EMAIL, value) for value in ("a b@x.com", "a@x.com ", "a@-x.com", "a@x_y.com", "a@1.2.3.4")],
        *[(FieldType.EMAIL, value) for value in ("a@x.local", "a@x.test", "A <a@x.com>", "a@x.com,b@x.com")],
        *[(FieldType.PHONE, value) for value in ("5550102", "23105550102", "310555010", "310555O102", "+1310555010")],
        *[(FieldType.PHONE, value) for value in ("call 3105550102", "3105550102 or 3105550103", "()", "+", "x12")],
        *[(FieldType.ZIPCODE, value) for value in ("9021", "902101", "90210-", "902101234", "K1A 0B1", "90210 ")],
        *[(FieldType.STATE, value) for value in ("ZZ", "C", "Californ", "CA ", "Ontario", "New", "of Columbia")],
        *[(FieldType.URL, value) for value in ("example.com", "ftp://example.com", "https://", "http:///x")],
        *[(FieldType.URL, value) for value in ("https://a b.com", "javascript:alert(1)", "http://x:port/")],
        *[(FieldType.URL, value) for value in ("http://?x", "http://-.com", "http://a.com/x y", "//example.com")],
        *[(FieldType.IP, value) for value in ("256.1.1.1", "1.2.3", "1.2.3.4/8", "fe80::1%eth0", "01.2.3.4", "::g")],
        (FieldType.IP, "localhost"),
    ],
)
def test_type_refuses_when_the_text_is_not_well_formed(kind, value) -> None:
    """What a type does not stand for is a problem; nothing is trimmed, for nothing is on the way to a buyer."""
    assert not fits(kind, value)


@given(st.from_regex(r"[a-zA-Z0-9_+.-]{1,12}@[a-zA-Z0-9.-]{1,20}", fullmatch=True))
def test_email_agrees_with_the_library_when_the_quick_check_decides(value) -> None:
    """The quick way is only quicker: it accepts nothing that the library refuses."""
    try:
        validate_email(value, check_deliverability=False)
        is_email = True
    except EmailNotValidError:
        is_email = False
    assert fits(FieldType.EMAIL, value) is is_email


@pytest.mark.parametrize("kind", list(FIELD_TYPES))
@pytest.mark.parametrize("text", ["1" * 4096, "a@" * 2048, "http://" + "a." * 2040, "-" * 4096, "+1 " * 1365])
def test_type_check_ends_when_the_text_is_hostile(kind, text) -> None:
    """No text within the size limit keeps a check busy."""
    assert cpu_s(lambda: fits(kind, text)) < CHEAP_S


@given(st.sampled_from(list(FIELD_TYPES)), st.text() | st.text("aé1@.-:+/[] \u0130ß٣").map("a@{}".format))
def test_type_check_says_yes_or_no_when_given_anything(kind, text) -> None:
    """Whatever a caller sends, a check answers and never raises."""
    assert fits(kind, text) in (True, False)
