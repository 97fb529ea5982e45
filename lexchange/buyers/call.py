"""Call: one endpoint of a buyer, compiled: a lead's values become his request, his answer becomes a reading.

Auction and delivery use nothing else of a buyer's formats. Pure: the request is sent by `client.py`.
"""

from collections.abc import Callable

from lexchange.buyers.answers import Reading, compile_rules
from lexchange.buyers.client import BuyerAnswer, BuyerRequest, Endpoint
from lexchange.buyers.formats import FORMATS, compile_format
from lexchange.buyers.mapping import MappingValues, compile_mapping
from lexchange.buyers.request import Head, check_headers, make_request
from lexchange.campaign import BuyerDelivery
from lexchange.frozen import frozen, replace

METHODS = ("GET", "POST", "PUT", "PATCH")
IDEMPOTENCY_KEY = "Idempotency-Key"


@frozen
class BuyerCall:
    """How one endpoint is called. `build` raises UnmappableLead; `read` never raises."""

    delivery: BuyerDelivery
    endpoint: Endpoint
    build: Callable[[MappingValues], BuyerRequest]
    read: Callable[[BuyerAnswer], Reading]

    def describe(self) -> str:
        """The call in one line, without what may be secret: the URL's query, headers and values."""
        endpoint, delivery = self.endpoint, self.delivery
        path = endpoint.target.partition(b"?")[0].decode("ascii")
        count = len(delivery.fields)
        return (
            f"{delivery.method} {endpoint.scheme}://{endpoint.authority}{path}"
            f" as {delivery.format} with {count} {'field' if count == 1 else 'fields'}"
        )


def compile_call(delivery: BuyerDelivery) -> BuyerCall:
    """Compile an endpoint; raises ValueError saying what was expected where the configuration cannot work."""
    endpoint = Endpoint.parse(delivery.url, tls=delivery.tls, connection_limit=delivery.connection_limit)
    return BuyerCall(
        delivery=delivery,
        endpoint=endpoint,
        build=_compile_build(delivery, endpoint),
        read=compile_rules(delivery.answer),
    )


def _compile_build(delivery: BuyerDelivery, endpoint: Endpoint) -> Callable[[MappingValues], BuyerRequest]:
    is_in_query = FORMATS[delivery.format].is_in_query
    method = delivery.method
    if method not in METHODS:
        raise ValueError(f"method {method}: expected one of {', '.join(METHODS)}")
    if method == "GET" and not is_in_query:
        raise ValueError(f"method GET: expected format query, because a GET carries no {delivery.format} body")
    headers = _headers(delivery)
    map_values = compile_mapping(delivery.fields)
    encode = compile_format(delivery.format, [field.path for field in delivery.fields])
    head = Head.build(endpoint, method, headers)
    is_keyed = delivery.is_idempotent and not _has(headers, IDEMPOTENCY_KEY)

    def build(values: MappingValues) -> BuyerRequest:
        encoded = encode(map_values(values))
        request = make_request(
            endpoint=endpoint,
            method=method,
            headers=headers,
            body=b"" if is_in_query else encoded,
            query=encoded.decode("ascii") if is_in_query else "",
            oauth2=delivery.oauth2,
            head=head,
        )
        if is_keyed and values.delivery_id is not None:
            return replace(request, headers=(*headers, (IDEMPOTENCY_KEY, values.delivery_id)), head=None)
        return request

    return build


def _headers(delivery: BuyerDelivery) -> tuple[tuple[str, str], ...]:
    headers = tuple((header.name, header.value) for header in delivery.headers)
    check_headers(headers)
    content_type = FORMATS[delivery.format].content_type
    if content_type and not _has(headers, "Content-Type"):
        return (("Content-Type", content_type), *headers)
    return headers


def _has(headers: tuple[tuple[str, str], ...], name: str) -> bool:
    return any(given.lower() == name.lower() for given, _ in headers)
