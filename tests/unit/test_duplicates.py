import pytest

from lexchange.campaign import Duplicates, DuplicateScope, FieldSpec, FieldType
from lexchange.duplicates import fingerprint, scope_key
from tests.unit.examples import NOW_MS, a_campaign

HOUR_MS = 3_600_000


def digest(data: dict[str, str], *names: str) -> str | None:
    fields = (FieldSpec(name="mobile", type=FieldType.PHONE),)
    mark = fingerprint(a_campaign(duplicates=Duplicates(fields=names, window_h=24), fields=fields), data, NOW_MS)
    return mark.digest if mark else None


@pytest.mark.parametrize(
    ("name", "first", "second", "is_equal"),
    [
        ("email", "Sam@Example.com", " sam@example.COM ", True),
        ("last_name", "van  Dyke", "Van Dyke", True),
        ("last_name", "Straße", "STRASSE", True),
        ("email", "sam@example.com", "tom@example.com", False),
        ("phone", "+1 (310) 555-0102", "3105550102", True),
        ("phone", "3105550102", "3105550103", False),
        ("mobile", "+1 (310) 555-0102", "310.555.0102", True),
        ("zipcode", "90210", "90211", False),
    ],
)
def test_leads_are_equal_when_their_chosen_fields_are(name: str, first: str, second: str, is_equal: bool) -> None:
    """Case, blanks and a phone's punctuation make no difference; anything else does."""
    assert (digest({name: first}, name) == digest({name: second}, name)) is is_equal


def test_fields_do_not_run_into_each_other() -> None:
    """`ab` and `c` are not `a` and `bc`."""
    assert digest({"a": "ab", "b": "c"}, "a", "b") != digest({"a": "a", "b": "bc"}, "a", "b")


@pytest.mark.parametrize("data", [{}, {"email": "a@b.c"}, {"email": "a@b.c", "phone": "none"}])
def test_lead_equals_nobody_when_it_lacks_a_field(data: dict[str, str]) -> None:
    """Missing is not a value that two people could share."""
    assert digest(data, "email", "phone") is None


def test_campaign_without_the_rule_knows_no_duplicates() -> None:
    """No rule, no fingerprint."""
    assert fingerprint(a_campaign(), {"email": "a@b.c"}, NOW_MS) is None


def test_window_reaches_back_its_hours() -> None:
    """A lead from before `since_ms` is none of ours."""
    mark = fingerprint(a_campaign(duplicates=Duplicates(fields=("email",), window_h=24)), {"email": "a@b.c"}, NOW_MS)
    assert mark is not None
    assert (mark.campaign, mark.since_ms) == ("home", NOW_MS - 24 * HOUR_MS)


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        (DuplicateScope.CAMPAIGN, ""),
        (DuplicateScope.SOURCE, "source:SRC_MAIN"),
        (DuplicateScope.BUYER, "buyer:acme"),
    ],
)
def test_scope_key_names_whose_leads_count(scope: DuplicateScope, expected: str) -> None:
    """Among all leads of the campaign, of the source, or of the buyer."""
    assert scope_key(scope, src="SRC_MAIN", buyer="acme") == expected
