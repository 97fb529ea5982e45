"""Trial: what one buyer's endpoint would be sent for a lead, and how its answer reads. For setting a buyer up.

Nothing is stored, and nothing is sent but by `send()`.
"""

import asyncio
import time
from dataclasses import dataclass, replace
from typing import Any

from lexchange.buyers.answers import Reading
from lexchange.buyers.call import BuyerCall
from lexchange.buyers.client import BuyerAnswer, BuyerClient, BuyerFailure, BuyerRequest
from lexchange.buyers.documents import Document, answer_text, compile_walk, reparse, scalar_text
from lexchange.buyers.mapping import MappingValues
from lexchange.buyers.paths import parse_path
from lexchange.caps import lead_takes
from lexchange.catalog import LiveBuyer, LiveCampaign
from lexchange.clock import Clock
from lexchange.eligibility import Moment, first_skip
from lexchange.fields import Checked, Stage
from lexchange.ids import Ids
from lexchange.money import format_micros

Facts = dict[str, Any]
PING_RESPONSE = "ping_response."
MASK = "…"
SHOWN_ANSWER_CHARACTERS = 4_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """An answer, or why there is none, as facts; `document` is what `ping_response` mappings walk in."""

    facts: Facts
    document: Document | None = None


class Trial:
    """One lead at one buyer. `src` is the source it is said to come from."""

    def __init__(self, live: LiveBuyer, campaign: LiveCampaign, data: dict[str, str], src: str, clock: Clock) -> None:
        self._live = live
        self._campaign = campaign
        self._data = data
        ids = Ids(clock)
        self._values = MappingValues(
            lead=data,
            ping_id=ids.ping_id(),
            campaign_id=campaign.campaign.campaign,
            campaign_name=campaign.campaign.name,
            src=src,
            lead_id=ids.lead_id(),
            delivery_id=ids.delivery_id(),
            now_ms=clock.now_ms(),
        )

    def about(self) -> Facts:
        """Whether this lead would come to the buyer at all: its problems, and why he would not be asked."""
        campaign, buyer = self._campaign, self._live.buyer
        moment = Moment(src=self._values.src, data=self._data, now_ms=self._values.now_ms, used={})
        takes = lead_takes(buyer.caps, self._live.owner, moment.now_ms, self._live.zone, 0, src=moment.src)
        skip = first_skip(buyer, moment, zone=self._live.zone, failed_rule=self._live.failed_rule, takes=takes)
        checked: Checked = campaign.schema.check(self._data, Stage.POST)
        return {
            "campaign": campaign.campaign.campaign,
            "buyer": buyer.buyer,
            "source": self._values.src,
            "would_be_asked": skip is None,
            "skip": ": ".join(part for part in skip if part) if skip else "",
            "problems": [{"field": each.field, "message": each.message} for each in checked.problems],
            "dropped_fields": list(checked.dropped),
        }

    def request(self, call: BuyerCall, ping_response: Document | None = None) -> BuyerRequest:
        """What would go out; raises UnmappableLead."""
        return call.build(replace(self._values, ping_response=ping_response))

    async def send(self, call: BuyerCall, request: BuyerRequest, client: BuyerClient) -> Sent:
        """Send it, and read the answer as an auction or a delivery would."""
        began_s = time.perf_counter()
        deadline = asyncio.get_running_loop().time() + call.delivery.timeout_ms / 1000
        answer = await client.send(request, deadline=deadline)
        facts: Facts = {"latency_ms": round((time.perf_counter() - began_s) * 1000, 1)}
        if isinstance(answer, BuyerFailure):
            sent = "bytes had left" if answer.is_sent else "nothing had left"
            return Sent(facts=facts | {"verdict": "no answer", "detail": f"{answer.kind}: {answer.detail}; {sent}"})
        return self._read(call, answer, facts)

    def _read(self, call: BuyerCall, answer: BuyerAnswer, facts: Facts) -> Sent:
        reading = call.read(answer)
        text = answer_text(answer.body, answer.content_type)
        read = {
            "http_status": answer.status,
            "content_type": answer.content_type,
            "answer": text[:SHOWN_ANSWER_CHARACTERS],
            "verdict": str(reading.verdict),
            **_said(reading),
        }
        document = reparse(text, answer.content_type)
        return Sent(facts=facts | read | {"ping_response": self.promised(document)}, document=document)

    def promised(self, document: Document) -> dict[str, str | None]:
        """What the post's `ping_response` mappings find in a ping answer; None where they find nothing."""
        sources = {source for field in self._live.buyer.post.fields for source in field.sources}
        paths = sorted(name.removeprefix(PING_RESPONSE) for name in sources if name.startswith(PING_RESPONSE))
        found = {path: compile_walk(parse_path(path))(document) for path in paths}
        return {path: None if value is None else scalar_text(value) for path, value in found.items()}


def described(call: BuyerCall, request: BuyerRequest) -> Facts:
    """A request as facts; secret headers and the configured query are masked."""
    endpoint = request.endpoint
    path, has_query, _ = endpoint.target.decode("ascii").partition("?")
    own = f"?{MASK}" if has_query else ""
    query = f"{'&' if own else '?'}{request.query}" if request.query else ""
    secret = {header.name for header in call.delivery.headers if header.is_secret}
    headers = {name: MASK if name in secret else value for name, value in request.headers}
    if request.oauth2:
        headers["Authorization"] = f"Bearer {MASK} from {request.oauth2.token_url.partition('?')[0]}"
    return {
        "method": request.method,
        "url": f"{endpoint.scheme}://{endpoint.authority}{path}{own}{query}",
        "certificate": endpoint.tls.certificate if endpoint.tls else "",
        "headers": headers,
        "body": request.body.decode("utf-8", "replace"),
        "timeout_ms": call.delivery.timeout_ms,
    }


def _said(reading: Reading) -> Facts:
    """Bid, price and reason, where the answer has them."""
    said: Facts = {}
    if reading.bid_micros is not None:
        said["bid"] = format_micros(reading.bid_micros, 2)
    if reading.bid_problem:
        said["bid_problem"] = reading.bid_problem
    if reading.price_micros is not None:
        said["price"] = format_micros(reading.price_micros, 2)
    if reading.reason:
        said["reason"] = reading.reason
    return said
