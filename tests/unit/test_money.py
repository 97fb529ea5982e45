from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lexchange.money import MAX_MICROS, format_micros, parse_bid, parse_micros, parse_number, parse_share


@pytest.mark.parametrize(
    ("value", "micros"),
    [
        ("5.95", 5_950_000),
        (5.95, 5_950_000),
        (Decimal("5.95"), 5_950_000),
        (6, 6_000_000),
        ("6", 6_000_000),
        ("6.", 6_000_000),
        (".5", 500_000),
        ("+1", 1_000_000),
        ("0", 0),
        (0, 0),
        (-0.0, 0),
        ("007", 7_000_000),
        ("1e2", 100_000_000),
        (1e-05, 10),
        (0.1 + 0.2, 300_000),
        ("0e999", 0),
        ("0.000001", 1),
    ],
)
def test_parse_micros_reads_a_number_when_it_is_money(value, micros) -> None:
    """Text and numbers become exact micros."""
    assert parse_micros(value) == micros


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("0.0000005", 0),
        ("0.00000050001", 1),
        ("0.0000015", 2),
        ("0.0000025", 2),
        ("1.23456749", 1_234_567),
    ],
)
def test_parse_micros_rounds_half_even_when_places_are_too_many(text, micros) -> None:
    """More than six decimal places are rounded half-even, once."""
    assert parse_micros(text) == micros


@pytest.mark.parametrize("value", ["999999999.999999", Decimal("999999999.999999")])
def test_parse_micros_accepts_when_just_under_the_limit(value) -> None:
    """One micro under the largest amount is money."""
    assert parse_micros(value) == 999_999_999_999_999


@pytest.mark.parametrize("value", [1_000_000_000, "1000000000", 1e9, "1000000000.0000004"])
def test_parse_micros_accepts_when_at_the_limit(value) -> None:
    """The largest amount is money, after rounding."""
    assert parse_micros(value) == 1_000_000_000_000_000


@pytest.mark.parametrize(
    "value", [1_000_000_001, "1000000000.000001", 1e300, pytest.param(10**6000, id="huge"), "1e999"]
)
def test_parse_micros_refuses_when_above_the_limit(value) -> None:
    """One micro more than the largest amount is refused, and so is anything beyond."""
    with pytest.raises(ValueError, match="expected an amount of money from 0 to 1000000000, got "):
        parse_micros(value)


@pytest.mark.parametrize(
    "value",
    [
        *["", " ", "five", "1,000", "$5", " 5", "5 ", "1_000", "٥", "0x10", "--1", "1e", "1e1000", "5\n"],
        *["nan", "inf", "-inf", "Infinity", "sNaN"],
        *[float("nan"), float("inf"), float("-inf"), Decimal("NaN"), Decimal("Infinity")],
        *["-0.01", -1, -0.01, "-0.0000001"],
        *[True, False],
        *["0." + "0" * 63],
    ],
)
def test_parse_micros_refuses_when_it_is_no_amount(value) -> None:
    """What is not a finite plain number from 0 up is refused with a sentence; so are booleans and endless digits."""
    with pytest.raises(ValueError, match=r"^expected an amount of money from 0 to 1000000000, got "):
        parse_micros(value)


@pytest.mark.parametrize(
    ("answer", "micros"),
    [
        ("5.95", 5_950_000),
        (" 5.95 ", 5_950_000),
        ("$5.95", 5_950_000),
        (" $ 5.95\n", 5_950_000),
        ("1,200.50", 1_200_500_000),
        ("$1,234,567", 1_234_567_000_000),
        (7, 7_000_000),
        (7.225, 7_225_000),
        ("0", 0),
    ],
)
def test_parse_bid_forgives_when_a_buyer_formats_for_people(answer, micros) -> None:
    """Spaces around, one leading currency sign and thousands commas do not make a bid unreadable."""
    assert parse_bid(answer) == micros


@pytest.mark.parametrize(
    "answer",
    [
        *["", " ", "$", "$$5", "5$", "$-5", "-5", "€5", "5 USD", "no bid", "NaN", "inf", "1e999"],
        *["1,5", "1,00", "12,34,567", ",100", "1,2345", "1,000,00", "5.1,000"],
        *[True, None, [5], {"bid": 5}, float("nan"), float("inf"), -1],
    ],
)
def test_parse_bid_refuses_when_the_answer_is_garbage(answer) -> None:
    """A bid that could mean another amount, or none, is refused: `1,5` is neither 15 nor 1.5."""
    with pytest.raises(ValueError, match=r"^expected an amount of money"):
        parse_bid(answer)


@pytest.mark.parametrize(
    ("micros", "text"),
    [
        (5_950_000, "5.95"),
        (6_000_000, "6"),
        (7_225_000, "7.225"),
        (0, "0"),
        (1, "0.000001"),
        (999_999, "0.999999"),
        (10_000_000, "10"),
        (1_000_000_000_000_000, "1000000000"),
        (-1_050_000, "-1.05"),
    ],
)
def test_format_micros_is_exact_when_asked_plainly(micros, text) -> None:
    """All digits that count, and none that does not."""
    assert format_micros(micros) == text


@pytest.mark.parametrize(("micros", "text"), [(7_000_000, "7.00"), (7_225_000, "7.225"), (500_000, "0.50")])
def test_format_micros_pads_when_places_are_wanted(micros, text) -> None:
    """`min_places` only ever adds zeros."""
    assert format_micros(micros, 2) == text


@given(st.integers(0, MAX_MICROS))
def test_parse_micros_returns_the_same_when_text_comes_back(micros) -> None:
    """Formatting loses nothing."""
    assert parse_micros(format_micros(micros)) == micros
    assert parse_bid(format_micros(micros, 2)) == micros


@given(st.decimals(0, 2 * 10**9, places=8) | st.from_regex(r"\d{0,11}\.?\d{0,8}", fullmatch=True))
def test_parse_micros_reads_plain_text_as_the_decimal_that_it_spells(written) -> None:
    """The short way for plain digits and the way of all other numbers never differ."""

    def read(value: str | Decimal) -> int | None:
        try:
            return parse_micros(value)
        except ValueError:
            return None

    text = str(written)
    number = parse_number(text)
    assert read(text) == (None if number is None else read(number))


@given(st.integers(0, MAX_MICROS), st.integers(0, MAX_MICROS))
def test_parse_micros_keeps_order_when_two_amounts_compare(one, other) -> None:
    """A larger text never becomes a smaller amount."""
    low, high = sorted([Decimal(one) / 10**7, Decimal(other) / 10**7])
    assert parse_micros(low) <= parse_micros(high)


@given(st.one_of(st.text(), st.floats(), st.integers(), st.booleans(), st.none()))
def test_parse_bid_gives_an_amount_or_a_value_error_when_given_anything(answer) -> None:
    """Whatever a buyer answers, nothing else comes out."""
    try:
        micros = parse_bid(answer)
    except ValueError:
        return
    assert 0 <= micros <= MAX_MICROS


@pytest.mark.parametrize(
    ("value", "share"),
    [
        ("0.85", Fraction(17, 20)),
        (0.85, Fraction(17, 20)),
        (0, Fraction(0)),
        (1, Fraction(1)),
        ("1.0", Fraction(1)),
        ("0.000000000001", Fraction(1, 10**12)),
    ],
)
def test_parse_share_is_exact_when_within_its_range(value, share) -> None:
    """A share is the fraction that was written, not the nearest binary one."""
    assert parse_share(value) == share


@pytest.mark.parametrize(
    "value", ["", "85%", "1.000000000001", -0.1, 2, "nan", float("inf"), True, "2/3", "0.0000000000001", "1e-999"]
)
def test_parse_share_refuses_when_out_of_range_or_no_number(value) -> None:
    """A share lies between 0 and 1 and has at most twelve decimal places."""
    with pytest.raises(ValueError, match=r"^expected a share from 0 to 1"):
        parse_share(value)


@pytest.mark.parametrize(
    ("text", "number"),
    [("-12.50", Decimal("-12.50")), ("1e3", Decimal(1000)), ("12", Decimal(12)), ("12a", None), ("", None)],
)
def test_parse_number_reads_text_when_it_is_a_plain_number(text, number) -> None:
    """Lead fields and filters read numbers as money does, without its range."""
    assert parse_number(text) == number
