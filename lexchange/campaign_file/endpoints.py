"""Reads a buyer's endpoints: where his pings and posts go, with which headers, and how long they may take."""

import re
from dataclasses import dataclass
from functools import partial

from lexchange.buyers.call import METHODS, compile_call
from lexchange.buyers.request import check_headers
from lexchange.campaign import AnswerRules, BodyFormat, BuyerDelivery, Header, MappedField
from lexchange.campaign_file.access import Access, read_auth, read_secret, read_url
from lexchange.campaign_file.answers import NO_RULES, read_ping_answer, read_post_answer
from lexchange.campaign_file.mapping import read_ping_fields, read_post_fields
from lexchange.campaign_file.reading import Reader, Section, Unreadable, Value, attempt, entries, is_mapping
from lexchange.campaign_file.scalars import choice, flag, one_of, text
from lexchange.campaign_file.scope import TIMEOUT_MS, Claims, Scope, Setting

NO_ENDPOINT = BuyerDelivery(url="", timeout_ms=1, fields=(), answer=NO_RULES)

_METHOD = choice({method: method for method in METHODS})
_SECRET_HEADER = re.compile("auth|cookie|credential|key|pass|secret|session|signature|token", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """Where pings and posts differ: their keys, and how what stands there is read."""

    timeout_ms: int
    read_fields: Reader[tuple[MappedField, ...]]
    answer_key: str
    read_answer: Reader[AnswerRules]
    refused: dict[str, str]
    access: Access


def read_ping(value: Value, scope: Scope, access: Access, has_bid: bool) -> BuyerDelivery:
    """Where and how a buyer is asked for his bid."""
    kind = _Kind(
        timeout_ms=scope.routing.ping_timeout_ms,
        read_fields=partial(read_ping_fields, scope=scope),
        answer_key="ping_response_settings",
        read_answer=partial(read_ping_answer, has_bid=has_bid),
        refused={
            "post_response_settings": "only for a post: a ping has ping_response_settings",
            "idempotent": "only for a post: a ping may always be asked again",
        },
        access=access,
    )
    return _read_endpoint(value, scope.setting, kind)


def read_post(value: Value, scope: Scope, access: Access, has_ping: bool) -> BuyerDelivery:
    """Where and how a buyer gets a lead."""
    kind = _Kind(
        timeout_ms=scope.routing.post_timeout_ms,
        read_fields=partial(read_post_fields, scope=scope, has_ping=has_ping),
        answer_key="post_response_settings",
        read_answer=read_post_answer,
        refused={"ping_response_settings": "only for a ping: a post has post_response_settings"},
        access=access,
    )
    return _read_endpoint(value, scope.setting, kind)


def _read_endpoint(value: Value, setting: Setting, kind: _Kind) -> BuyerDelivery:
    problem_count = len(value.origin.problems)
    with Section(value) as section:
        for key, why in kind.refused.items():
            section.refuse(key, why)
        headers = section.take("headers", partial(_read_headers, setting=setting), ())
        access = section.take("auth", partial(read_auth, setting=setting, tls=kind.access.tls), kind.access)
        if (access.header or access.oauth2) and any(header.name.lower() == "authorization" for header in headers):
            section.value.report("expected either auth or an Authorization header")
        endpoint = BuyerDelivery(
            url=section.need("url", partial(read_url, setting=setting), ""),
            method=section.take("method", _METHOD, "POST"),
            format=section.take("format", one_of(BodyFormat), BodyFormat.JSON),
            headers=(*headers, access.header) if access.header else headers,
            oauth2=access.oauth2,
            tls=kind.access.tls,
            connection_limit=kind.access.connection_limit,
            timeout_ms=section.take("timeout_ms", TIMEOUT_MS, kind.timeout_ms),
            is_idempotent="idempotent" not in kind.refused and section.take("idempotent", flag, False),
            fields=section.need("fields", kind.read_fields, ()),
            answer=section.need(kind.answer_key, kind.read_answer, NO_RULES),
        )
        if len(value.origin.problems) == problem_count:
            _try_out(section, endpoint)
        return endpoint


def _try_out(section: Section, endpoint: BuyerDelivery) -> None:
    """Compile the endpoint as the exchange will, to hear now what it would say then, at the key it speaks of."""
    try:
        compile_call(endpoint)
    except ValueError as error:
        fields, method = section.find("fields"), section.find("method")
        places = entries(fields) if fields else {}
        if method:
            places[f"method {endpoint.method}"] = method
        for name, place in places.items():
            if str(error).startswith(f"{name}: "):
                raise Unreadable(place, str(error).removeprefix(f"{name}: ")) from error
        raise Unreadable(section.value, str(error)) from error


def _read_headers(value: Value, setting: Setting) -> tuple[Header, ...]:
    names = Claims()
    stand_in = Header(name="", value="")
    read = partial(_read_header, setting=setting, names=names)
    return tuple(attempt(each, read, stand_in) for each in entries(value).values())


def _read_header(value: Value, setting: Setting, names: Claims) -> Header:
    name = str(value.key)
    names.claim(value, name.lower())
    if not is_mapping(value):
        written = _sendable(value, name, text(value))
        return Header(name=name, value=written, is_secret=bool(_SECRET_HEADER.search(name)))
    return Header(name=name, value=_sendable(value, name, read_secret(value, setting)), is_secret=True)


def _sendable(value: Value, name: str, written: str) -> str:
    """The header's value as it is; the client says why not, without repeating it."""
    try:
        check_headers([(name, written)])
    except ValueError as error:
        problem = str(error).removeprefix(f"header {name}: ").removeprefix(f"header {name!r}: ")
        raise Unreadable(value, problem) from error
    return written
