"""Reads how a buyer's answer is understood: what counts as accepted or rejected, and where his bid and reason are."""

import functools

from lexchange.buyers.paths import parse_path
from lexchange.campaign import AnswerRule, AnswerRules
from lexchange.campaign_file.reading import Section, Unreadable, Value, is_list, once_each
from lexchange.campaign_file.scalars import compared_text, flag, pattern, text, whole

HTTP_STATUS = whole(100, 599)
NO_RULE = AnswerRule()
NO_RULES = AnswerRules(accepted=NO_RULE)


def read_ping_answer(value: Value, has_bid: bool) -> AnswerRules:
    """`ping_response_settings`; without a fixed bid of the buyer it must say where his bid is."""
    with Section(value) as section:
        section.refuse("price_path", "only for a post: a ping has bid_path")
        bid_path = section.take("bid_path", _read_path, None)
        if not has_bid and not section.given("bid_path"):
            value.report("missing key bid_path: this buyer has no bid of his own")
        return AnswerRules(
            accepted=section.need("accepted", _read_rule, NO_RULE),
            rejected=section.take("rejected", _read_rule, None),
            bid_path=bid_path,
            reason_path=section.take("reason_path", _read_path, None),
        )


def read_post_answer(value: Value) -> AnswerRules:
    """`post_response_settings`."""
    with Section(value) as section:
        section.refuse("bid_path", "only for a ping: a post has price_path")
        return AnswerRules(
            accepted=section.need("accepted", _read_rule, NO_RULE),
            rejected=section.take("rejected", _read_rule, None),
            reason_path=section.take("reason_path", _read_path, None),
            price_path=section.take("price_path", _read_path, None),
        )


def _read_rule(value: Value) -> AnswerRule:
    with Section(value) as section:
        equals = section.take("equals", compared_text, None)
        one_of = section.take("in", once_each(compared_text), ())
        rule = AnswerRule(
            path=section.take("path", _read_path, None),
            one_of=one_of if equals is None else (equals,),
            exists=section.take("exists", flag, None),
            matches=section.take("matches", pattern, None),
            http_status=section.take("http_status", _read_statuses, ()),
        )
        _check_together(section)
        return rule


def _check_together(section: Section) -> None:
    compared = section.given("equals", "in")
    tests = section.given("equals", "in", "exists", "matches")
    has_path = bool(section.given("path"))
    if len(compared) == 2:
        section.refuse("in", "expected either equals or in")
    if has_path and not tests:
        raise Unreadable(section.value, "expected equals, in, exists or matches beside path")
    if not tests and not section.given("http_status"):
        raise Unreadable(section.value, "expected path, matches or http_status: a rule that asks nothing always holds")
    if not has_path and section.given("exists"):
        raise Unreadable(section.value, "missing key path: exists looks at one value of the answer")


def _read_statuses(value: Value) -> tuple[int, ...]:
    return once_each(HTTP_STATUS)(value) if is_list(value) else (HTTP_STATUS(value),)


def _read_path(value: Value) -> str:
    written = text(value)
    if problem := path_problem(written):
        raise Unreadable(value, problem)
    return written


@functools.lru_cache(maxsize=4096)
def path_problem(written: str) -> str:
    """What is wrong with a path into an answer; nothing for a good one."""
    try:
        parse_path(written)
    except ValueError as error:
        return str(error)
    return ""
