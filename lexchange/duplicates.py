"""Duplicates: when two leads are the same person. Pure; the store remembers the fingerprints.

A digest is made of the campaign's chosen fields, normalised: case and blanks never make a difference, phones (the
field `phone`, and those of that type) are compared by their last ten digits. A lead that lacks one equals nobody.
"""

import hashlib
import re
from collections.abc import Mapping

from lexchange.campaign import Campaign, DuplicateScope, FieldType
from lexchange.lead import Fingerprint

HOUR_MS = 3_600_000
NOT_DIGITS = re.compile(r"\D")
BLANKS = re.compile(r"\s+")


def fingerprint(
    campaign: Campaign, data: Mapping[str, str], now_ms: int, *, src: str = "", buyer: str = ""
) -> Fingerprint | None:
    """What the lead is compared by when this buyer is to have it; None when it equals nobody."""
    rule = campaign.duplicates
    if rule is None:
        return None
    phones = {"phone"} | {spec.name for spec in campaign.fields if spec.type is FieldType.PHONE}
    values = [_normal(data.get(name, ""), is_phone=name in phones) for name in rule.fields]
    if not all(values):
        return None
    return Fingerprint(
        campaign=campaign.campaign,
        scope_key=scope_key(rule.scope, src=src, buyer=buyer),
        digest=hashlib.sha256("\x1f".join(values).encode()).hexdigest(),
        since_ms=now_ms - rule.window_h * HOUR_MS,
    )


def scope_key(scope: DuplicateScope, *, src: str, buyer: str) -> str:
    """Among whose leads a duplicate is looked for."""
    if scope is DuplicateScope.SOURCE:
        return f"source:{src}"
    return f"buyer:{buyer}" if scope is DuplicateScope.BUYER else ""


def _normal(value: str, *, is_phone: bool) -> str:
    if is_phone:
        return NOT_DIGITS.sub("", value)[-10:]
    return BLANKS.sub(" ", value).strip().casefold()
