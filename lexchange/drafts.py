"""Drafts: the records of a ping and a lead, as far as they stand when a call has been checked. Pure.

A ping is built once, when everything about it is known: it is the hot path, and copying a wide record field by field
costs more than deciding what is in it.
"""

import hashlib
from collections.abc import Mapping, Sequence

import orjson

from lexchange.auction import Bids
from lexchange.call import FieldProblem
from lexchange.catalog import Route
from lexchange.fields import Checked
from lexchange.frozen import frozen, replace
from lexchange.lead import BuyerPing, Lead, LeadState, Ping, PingState, SkipReason
from lexchange.payout import source_payout
from lexchange.reasons import Reason
from lexchange.routing import Bidder

NO_BIDS = Bids(buyers=[], ranked=[])


@frozen
class PingDraft:
    """A ping before its outcome."""

    route: Route
    checked: Checked
    ping_id: str
    now_ms: int
    config_version: str
    repeat_key: str | None = None

    def unsold(self, reason: Reason, problems: Sequence[FieldProblem] = (), bids: Bids = NO_BIDS) -> Ping:
        """It found no buyer, or was not fit to be offered."""
        listed = [{"field": each.field, "code": each.code, "message": each.message} for each in problems]
        return self._ping(PingState.NO_SALE, bids, reason=reason, problems=listed)

    def offered(self, winners: Sequence[Bidder], bids: Bids) -> Ping:
        """The winners want it; the source is promised its payout, for each of them where they share it."""
        payouts = {winner.buyer: self._payout_micros(winner) for winner in winners}
        is_shared = self.route.live.campaign.routing.sell_to > 1
        return self._ping(
            PingState.OFFERED,
            _with_payouts(bids, payouts) if is_shared else bids,
            winners=list(payouts),
            bid_micros=sum(winner.bid_micros for winner in winners),
            payout_micros=sum(payouts.values()),
        )

    def _payout_micros(self, winner: Bidder) -> int:
        split = source_payout(self.route.payout, winner.bid_micros)
        assert split is not None, "a bid that cannot pay the source has not bid"
        return split.payout_micros

    def offered_as_test(self, payout_micros: int) -> Ping:
        """Nobody was asked."""
        return self._ping(PingState.OFFERED, NO_BIDS, payout_micros=payout_micros)

    def _ping(
        self,
        state: PingState,
        bids: Bids,
        *,
        reason: str = "",
        problems: Sequence[dict[str, str]] = (),
        winners: Sequence[str] = (),
        bid_micros: int | None = None,
        payout_micros: int | None = None,
    ) -> Ping:
        campaign = self.route.live.campaign
        return Ping(
            ping_id=self.ping_id,
            campaign=campaign.campaign,
            src=self.route.source.src,
            is_test=self.checked.is_test,
            created_ms=self.now_ms,
            expires_ms=self.now_ms + campaign.routing.ping_ttl_s * 1000,
            state=state,
            config_version=self.config_version,
            reason=reason,
            winner=winners[0] if winners else None,
            winners=list(winners) if campaign.routing.sell_to > 1 else [],
            bid_micros=bid_micros,
            payout_micros=payout_micros,
            payout_rule=self.route.payout_text,
            routing_mode=campaign.routing.mode,
            seed=bids.seed,
            turns=bids.turns,
            repeat_key=self.repeat_key,
            data=self.checked.data,
            dropped=list(self.checked.dropped),
            problems=list(problems),
            buyers=bids.buyers,
        )


def new_lead(
    route: Route,
    checked: Checked,
    config_version: str,
    *,
    lead_id: str,
    ping_id: str | None,
    now_ms: int,
    worker: str = "",
) -> Lead:
    """A lead before it is claimed; `ping_id` is None on a direct post."""
    campaign = route.live.campaign
    return Lead(
        lead_id=lead_id,
        ping_id=ping_id,
        campaign=campaign.campaign,
        src=route.source.src,
        is_test=checked.is_test,
        created_ms=now_ms,
        updated_ms=now_ms,
        state=LeadState.CLAIMED,
        config_version=config_version,
        payout_rule=route.payout_text,
        routing_mode=campaign.routing.mode,
        data=checked.data,
        dropped=list(checked.dropped),
        worker=worker,
    )


def without_slot(bids: Bids, loser: Bidder) -> Bids:
    """The bids after a winner's last cap slot went to another ping."""
    return Bids(
        buyers=[_cap_full(part) if part.buyer == loser.buyer else part for part in bids.buyers],
        ranked=[bidder for bidder in bids.ranked if bidder is not loser],
        seed=bids.seed,
        turns=bids.turns,
    )


def _with_payouts(bids: Bids, payouts: Mapping[str, int]) -> Bids:
    parts = [
        replace(part, payout_micros=payouts[part.buyer]) if part.buyer in payouts else part for part in bids.buyers
    ]
    return replace(bids, buyers=parts)


def _cap_full(part: BuyerPing) -> BuyerPing:
    return replace(part, skip=SkipReason.CAP_REACHED, detail="its cap filled up before the ping was won")


def digest(data: dict[str, str]) -> str:
    """What makes two calls equal."""
    return hashlib.sha256(orjson.dumps(data, option=orjson.OPT_SORT_KEYS)).hexdigest()
