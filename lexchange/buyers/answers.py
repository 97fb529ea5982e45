"""Answers: what a buyer's answer says — accepted, rejected or neither — and his bid, price and reason in it.

Pure. A definite rejection lets the next buyer have the lead, so only an answer that is surely the buyer's own no counts
as one; whatever might be something else is unreadable.
"""

import re
from collections.abc import Callable
from enum import StrEnum
from typing import TypeAlias

import orjson

from lexchange.buyers.client import BuyerAnswer
from lexchange.buyers.documents import (
    Document,
    DocumentKind,
    Value,
    Walk,
    answer_text,
    compile_walk,
    make_document,
    parse_answer,
    scalar_text,
)
from lexchange.buyers.paths import parse_path
from lexchange.campaign import AnswerRule, AnswerRules
from lexchange.frozen import frozen, maker
from lexchange.money import parse_bid, plain_micros

REASON_CHARACTERS = 200

# Control characters, and those that break or turn around a line.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]+")


class Verdict(StrEnum):
    """What an answer says."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    UNREADABLE = "unreadable"


@frozen
class Reading:
    """A buyer's answer, read. Bid and price are only read from an accepted one.

    `bid_problem` says why there is no bid where the configuration names its path; "" where it names none.
    `reason` is the buyer's own; for an unreadable answer it starts with what is wrong with it.
    """

    verdict: Verdict
    bid_micros: int | None = None
    bid_problem: str = ""
    price_micros: int | None = None
    reason: str = ""
    document: Document | None = None


_make_reading = maker(Reading)

_Rule: TypeAlias = Callable[[BuyerAnswer, Document], bool]
_TextTest: TypeAlias = Callable[[str], bool]
_FindProblem: TypeAlias = Callable[[BuyerAnswer, Document], str]


def compile_rules(rules: AnswerRules) -> Callable[[BuyerAnswer], Reading]:
    """A function that reads answers and never raises; raises ValueError itself for a rule that says nothing.

    Where both rules hold, the accepting one counts, unless it looks at the HTTP status alone and the other does not.
    """
    steps = [(_compile_rule("accepted", rules.accepted), Verdict.ACCEPTED)]
    if rules.rejected is not None:
        steps.append((_compile_rule("rejected", rules.rejected), Verdict.REJECTED))
        if _is_status_only(rules.accepted) and not _is_status_only(rules.rejected):
            steps.reverse()
        find_problem = _compile_neither(rules.accepted, rules.rejected)
    else:
        find_problem = _compile_not_accepted(rules.accepted)
    read_plain_yes = _compile_plain_yes(rules) if steps[0][1] is Verdict.ACCEPTED else None
    reason_walk = _optional_walk(rules.reason_path)
    read_bid = _compile_bid(rules.bid_path)
    read_price = _compile_bid(rules.price_path)

    def read(answer: BuyerAnswer) -> Reading:
        if read_plain_yes is not None and (plain := read_plain_yes(answer)):
            return plain
        document = parse_answer(answer.body, answer.content_type)
        reason = "" if reason_walk is None else _clean(reason_walk(document))
        verdict = None
        for holds, meaning in steps:
            if holds(answer, document):
                verdict = meaning
                break
        if verdict is Verdict.ACCEPTED:
            bid_micros, bid_problem = read_bid(document)
            return Reading(
                verdict=verdict,
                bid_micros=bid_micros,
                bid_problem=bid_problem,
                price_micros=read_price(document)[0],
                reason=reason,
                document=document,
            )
        problem = find_problem(answer, document) if verdict is None else ""
        if problem:
            said = f"{problem}: {reason}" if reason else problem
            return Reading(verdict=Verdict.UNREADABLE, reason=said[:REASON_CHARACTERS], document=document)
        return Reading(verdict=Verdict.REJECTED, reason=reason, document=document)

    return read


def _compile_plain_yes(rules: AnswerRules) -> Callable[[BuyerAnswer], Reading | None] | None:
    """A function that reads what most buyers say: a JSON object with a word that means yes, and a plain bid.

    It is `read` for these answers, at a third of its cost, and None for any other. None where the rules ask for more.
    """
    accepted = rules.accepted
    if accepted.path is None or not accepted.one_of or accepted.matches or accepted.exists is not None:
        return None
    said_keys = parse_path(accepted.path).keys
    bid_keys = parse_path(rules.bid_path).keys if rules.bid_path else ()
    if rules.reason_path or rules.price_path or any(isinstance(key, int) for key in (*said_keys, *bid_keys)):
        return None
    statuses = frozenset(accepted.http_status) or range(200, 300)
    one_of = frozenset(accepted.one_of)
    json_kind, accepted_verdict = DocumentKind.JSON, Verdict.ACCEPTED

    def read_plain_yes(answer: BuyerAnswer) -> Reading | None:
        body = answer.body
        if answer.status not in statuses or body[:1] != b"{":
            return None
        try:
            root = said = bid = orjson.loads(body)
            for key in said_keys:
                said = said[key]
            for key in bid_keys:
                bid = bid[key]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return None
        if type(said) is not str or said not in one_of:
            return None
        bid_micros = plain_micros(bid) if bid_keys else None
        if bid_keys and bid_micros is None:
            return None
        document = make_document(kind=json_kind, body=body, root=root)
        return _make_reading(verdict=accepted_verdict, bid_micros=bid_micros, document=document)

    return read_plain_yes


# ----------------------------------------------------------------------------------------------------------- rules


def _is_own_status(status: int) -> bool:
    """Whether a rule that names no status looks at such answers: a redirect or a server's failure says nothing."""
    return 200 <= status < 300 or 400 <= status < 500


def _is_status_only(rule: AnswerRule) -> bool:
    return rule.path is None and not rule.one_of and rule.matches is None


def _compile_rule(name: str, rule: AnswerRule) -> _Rule:
    try:
        content_holds = _compile_content(rule)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    statuses = frozenset(rule.http_status)

    def holds(answer: BuyerAnswer, document: Document) -> bool:
        status = answer.status
        if not (status in statuses if statuses else _is_own_status(status)):
            return False
        return content_holds is None or content_holds(answer, document)

    return holds


def _compile_content(rule: AnswerRule) -> _Rule | None:
    """What the rule asks of the content; None when the status is all it asks for."""
    test = _compile_text_test(rule)
    if rule.path is None:
        if rule.exists is not None:
            raise ValueError("expected a path, to say what exists")
        if test is None:
            if not rule.http_status:
                raise ValueError("expected a path with equals, in, exists or matches, or matches, or http_status")
            return None
        return lambda answer, _: test(answer_text(answer.body, answer.content_type).strip())
    walk = compile_walk(parse_path(rule.path))
    if rule.exists is False:
        if test is not None:
            raise ValueError(f"path {rule.path}: expected no equals, in or matches beside exists: false")
        return lambda _, document: document.has_paths and walk(document) is None
    if test is None:
        if rule.exists is None:
            raise ValueError(f"path {rule.path}: expected equals, in, exists or matches beside it")
        return lambda _, document: walk(document) is not None
    return lambda _, document: _value_passes(walk(document), test)


def _value_passes(value: Value | None, test: _TextTest) -> bool:
    text = None if value is None else scalar_text(value)
    return text is not None and test(text)


def _compile_text_test(rule: AnswerRule) -> _TextTest | None:
    one_of = frozenset(rule.one_of)
    if rule.matches is None:
        return one_of.__contains__ if one_of else None
    try:
        search = re.compile(rule.matches).search
    except re.error as error:
        raise ValueError(f"matches: expected a regular expression: {error}") from error
    if not one_of:
        return lambda text: search(text) is not None
    return lambda text: text in one_of and search(text) is not None


# -------------------------------------------------------------------------------------------------- neither rule held


def _compile_neither(accepted: AnswerRule, rejected: AnswerRule) -> _FindProblem:
    """A function that says what is wrong with an answer that is neither: where the no is known, all else is none."""
    needs_paths = accepted.path is not None or rejected.path is not None

    def find_problem(answer: BuyerAnswer, document: Document) -> str:
        if not _is_own_status(answer.status):
            return f"HTTP {answer.status}"
        problem = document.problem if needs_paths else _text_problem(document)
        return problem or "neither accepted nor rejected"

    return find_problem


def _compile_not_accepted(accepted: AnswerRule) -> _FindProblem:
    """A function that says why an answer that is not accepted is no rejection either; "" when it is one.

    Many buyers answer 4xx with a body of their own, but proxies in front of them do as well. A 4xx therefore is a
    rejection only where the accepting rule looks at the status alone, or where the answer has the place it looks at.
    """
    walk = _optional_walk(accepted.path)

    def find_problem(answer: BuyerAnswer, document: Document) -> str:
        if not _is_own_status(answer.status):
            return f"HTTP {answer.status}"
        if _is_status_only(accepted):
            return ""
        is_refused = answer.status >= 400
        if walk is None:
            return f"HTTP {answer.status}" if is_refused else _text_problem(document)
        if document.has_paths and is_refused and walk(document) is None:
            return f"HTTP {answer.status} without {accepted.path}"
        return document.problem

    return find_problem


def _text_problem(document: Document) -> str:
    """Why a rule over the whole text has not had the buyer's own words before it."""
    is_odd = document.kind in (DocumentKind.HTML, DocumentKind.EMPTY, DocumentKind.BROKEN)
    return document.problem if is_odd else ""


# ------------------------------------------------------------------------------------------------- bid, price, reason


def _optional_walk(path: str | None) -> Walk | None:
    return None if path is None else compile_walk(parse_path(path))


def _compile_bid(path: str | None) -> Callable[[Document], tuple[int | None, str]]:
    """A function that reads money at `path`: (micros, "") or (None, why not)."""
    walk = _optional_walk(path)
    if walk is None:
        return lambda _: (None, "")

    def read_bid(document: Document) -> tuple[int | None, str]:
        value = walk(document)
        if value is None:
            return None, document.problem or f"nothing at {path}"
        try:
            return parse_bid(value), ""
        except ValueError as error:
            return None, str(error)

    return read_bid


def _clean(reason: Value | None) -> str:
    """The buyer's reason as one short line; objects and arrays as JSON, "" where they are nested too deep for it."""
    if reason is None:
        return ""
    text = scalar_text(reason)
    if text is None:
        try:
            text = orjson.dumps(reason).decode()
        except orjson.JSONEncodeError:  # it reads 1024 levels and writes 254
            return ""
    return _UNPRINTABLE.sub(" ", text[: 4 * REASON_CHARACTERS]).strip()[:REASON_CHARACTERS]
