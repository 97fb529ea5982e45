import re

import pytest

from lexchange.campaign import SourceKey
from lexchange.keys import hash_key, is_well_formed, matches, new_key

PEPPER = b"pepper"
OLD = SourceKey(hmac_hex=hash_key("old_key", PEPPER))
NEW = SourceKey(hmac_hex=hash_key("new_key", PEPPER))
KEY = "lx_live_003aUlTJC7tjlCTQj2uNU3MFagCXG9LRKRcwGkBIDlf4NkpYE"


def test_hash_key_is_an_hmac_when_peppered() -> None:
    """The stored text is hex HMAC-SHA-256, the same on every machine."""
    expected = "19259d780803cfc2559ea9ba8a75fdf7edb3279c61a0ad4b7f11ede07bb95c64"
    assert hash_key("live_key_value", PEPPER) == expected


def test_hash_key_differs_when_the_pepper_does() -> None:
    """Without the pepper a stolen store tells nothing about a key."""
    assert hash_key("live_key_value", b"other") != hash_key("live_key_value", PEPPER)


def test_hash_key_takes_any_text_when_a_caller_sends_nonsense() -> None:
    """Broken Unicode in a KEY is a wrong key, not a crash."""
    assert len(hash_key("\ud800é", PEPPER)) == 64


@pytest.mark.parametrize("kind", ["live", "test"])
def test_new_key_is_well_formed_and_fresh_when_made(kind) -> None:
    """A key says what it is for, then 43 random and 6 checking base62 digits; no two are alike."""
    keys = {new_key(kind) for _ in range(200)}
    assert len(keys) == 200
    assert all(re.fullmatch(rf"lx_{kind}_[0-9A-Za-z]{{49}}", key) for key in keys)
    assert all(map(is_well_formed, keys))


def test_is_well_formed_accepts_a_key_when_made_before() -> None:
    """A key of an earlier release stays one."""
    assert is_well_formed(KEY)


def test_is_well_formed_refuses_when_any_character_is_mistyped() -> None:
    """The checksum finds each single wrong character, wherever it is."""
    wrong = [KEY[:at] + ("x" if KEY[at] != "x" else "y") + KEY[at + 1 :] for at in range(len(KEY))]
    assert not any(map(is_well_formed, wrong))


@pytest.mark.parametrize("text", ["", "live_key_value", KEY[:-1], KEY + "0", KEY + "\n", " " + KEY])
def test_is_well_formed_refuses_when_the_shape_is_wrong(text) -> None:
    """Neither a legacy key nor a clipped one is ours."""
    assert not is_well_formed(text)


@pytest.mark.parametrize(
    ("key", "source_keys", "expected"),
    [
        ("old_key", (OLD,), True),
        ("old_key", (OLD, NEW), True),
        ("new_key", (OLD, NEW), True),
        ("other_key", (OLD, NEW), False),
        ("OLD_KEY", (OLD,), False),
        ("old_key ", (OLD,), False),
        ("", (OLD,), False),
        ("old_key", (), False),
    ],
)
def test_matches_is_true_when_any_key_of_the_source_fits(key, source_keys, expected) -> None:
    """While keys rotate both hold; a source without keys lets nobody in."""
    assert matches(key, source_keys, PEPPER) is expected


def test_matches_refuses_when_the_pepper_is_another() -> None:
    """A stored HMAC is only good under its own pepper."""
    assert not matches("old_key", (OLD,), b"other")
