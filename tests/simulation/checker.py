"""Checker: the promises, each a function over what sources heard, what buyers logged and what is stored.

It shares no decision with the exchange: what was allowed follows from the plan alone.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lexchange.call import Outcome as PostOutcome
from lexchange.call import PingAnswer, PostAnswer, Status
from lexchange.lead import AttemptOutcome, Lead, LeadState, PingState
from lexchange.leases import DETAIL as SWEPT
from lexchange.resolution import DEFINITE
from tests.simulation.history import Heard
from tests.simulation.plan import PING_TIMEOUT_S, Act, FaultKind
from tests.simulation.world import Outcome

SHARE = 0.5  # of a bid that the source earns
SLACK_S = 0.1  # what a ping may take longer than its auction, when no disk stalls
DISK_FAULTS = {FaultKind.STORE_FAILS, FaultKind.STORE_STALLS, FaultKind.STORE_UNSURE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """A promise that was broken, and for which lead (None: for none in particular)."""

    promise: str
    what: str
    act: int | None = None

    def __str__(self) -> str:
        return f"{self.promise}: {self.what}"


Check = Callable[[Outcome], Iterator[Violation]]


def check(outcome: Outcome) -> list[Violation]:
    """Every violation."""
    return [violation for each in CHECKS for violation in each(outcome)]


# ---- I1, I9, I6: who got a lead ----


def _posts_of(outcome: Outcome) -> dict[int, list[Heard]]:
    posts: dict[int, list[Heard]] = defaultdict(list)
    for heard in outcome.history.heard:
        if heard.endpoint == "post":
            posts[_number(heard.email)].append(heard)
    return posts


def sold_once(outcome: Outcome) -> Iterator[Violation]:
    """No buyer gets a lead twice, unless he declares that he does not mind; no more have it than may."""
    rules = outcome.plan.rules
    for act, posts in _posts_of(outcome).items():
        for buyer, count in Counter(post.buyer for post in posts).items():
            deliveries = {post.delivery_id for post in posts if post.buyer == buyer}
            if len(deliveries) > 1 or (count > 1 and buyer not in rules.idempotent):
                yield Violation(promise="sold_once", what=f"{buyer} got lead {act} {count} times", act=act)
        takers = {post.buyer for post in posts if post.has_taken}
        if len(takers) > rules.sell_to:
            yield Violation(promise="sold_once", what=f"{sorted(takers)} have lead {act}", act=act)
        places = {post.buyer for post in posts if not post.has_refused}
        if len(places) > rules.sell_to and not _is_direct(outcome, act):
            yield Violation(promise="sold_once", what=f"lead {act} went on to {sorted(places)}", act=act)


def moves_on_only_where_it_may(outcome: Outcome) -> Iterator[Violation]:
    """A ping's lead goes to another buyer only after a clear no, and only where the campaign says so."""
    rules = outcome.plan.rules
    for act, posts in _posts_of(outcome).items():
        buyers = {post.buyer for post in posts}
        if not rules.moves_on and len(buyers) > rules.sell_to and not _is_direct(outcome, act):
            yield Violation(promise="moves_on", what=f"lead {act} went to {sorted(buyers)}", act=act)


def tests_reach_nobody(outcome: Outcome) -> Iterator[Violation]:
    """A test call is no buyer's business."""
    tests = {act.number for act in outcome.plan.acts if act.is_test}
    for heard in outcome.history.heard:
        if _number(heard.email) in tests:
            yield Violation(promise="tests", what=f"{heard.buyer} heard of a test", act=_number(heard.email))


def foreign_posts_reach_nobody(outcome: Outcome) -> Iterator[Violation]:
    """Only the source that pinged may post."""
    foreign = {act.number for act in outcome.plan.acts if act.is_foreign and not act.is_direct}
    for act in _posts_of(outcome).keys() & foreign:
        yield Violation(promise="foreign", what=f"a foreign post of lead {act} was delivered", act=act)


def expired_stays_expired(outcome: Outcome) -> Iterator[Violation]:
    """A ping that is posted too late is nobody's. Clocks that were set back may go at half their pace."""
    plan = outcome.plan
    has_jumps = any(fault.kind is FaultKind.CLOCK_JUMPS for fault in plan.faults)
    ttl_s = plan.rules.ping_ttl_s * (2 if has_jumps else 1)
    answered = {told.act: told.at_s for told in outcome.history.told if told.name == "ping" and told.answer}
    first_asked: dict[int, float] = {}
    for told in outcome.history.told:
        if told.name == "post":
            first_asked[told.act] = min(first_asked.get(told.act, told.asked_s), told.asked_s)
    for act in _posts_of(outcome).keys() & first_asked.keys() & answered.keys():
        if first_asked[act] > answered[act] + ttl_s:
            yield Violation(promise="expiry", what=f"lead {act} was delivered after its ping had expired", act=act)


# ---- I2, I3: what was said is so ----


def acknowledged_pings_are_kept(outcome: Outcome) -> Iterator[Violation]:
    """Whatever a source was offered is stored, with the payout it was told; an answer's ping is stored, too."""
    kept = Counter(ping.data.get("email") for ping in outcome.left.pings.values())
    for told in outcome.history.told:
        if told.name != "ping" or not isinstance(told.answer, PingAnswer):
            continue
        if not kept[_email(told.act)]:
            yield Violation(promise="kept", what=f"the ping of lead {told.act} is not stored", act=told.act)
        if not told.answer.ping_id:
            continue
        ping = outcome.left.pings.get(told.answer.ping_id)
        if ping is None or ping.state is PingState.NO_SALE:
            yield Violation(promise="kept", what=f"the offered ping of lead {told.act} is lost", act=told.act)
        elif ping.payout_micros != told.answer.payout_micros:
            yield Violation(promise="kept", what=f"lead {told.act} has another payout than was told", act=told.act)


def acknowledged_posts_are_kept(outcome: Outcome) -> Iterator[Violation]:
    """A lead_id that was told stands for a stored lead; what was told delivered is."""
    leads = {lead.lead_id: lead for lead in outcome.left.leads}
    for told in outcome.history.told:
        if not isinstance(told.answer, PostAnswer):
            continue
        lead = leads.get(told.answer.lead_id)
        if told.answer.lead_id and lead is None:
            yield Violation(promise="kept", what=f"the post of lead {told.act} is lost", act=told.act)
        if told.answer.status is not Status.DELIVERED and told.answer.outcome is not PostOutcome.DELIVERED:
            continue
        if lead is None or not (lead.state is LeadState.DELIVERED or lead.takers):
            yield Violation(promise="kept", what=f"lead {told.act} was told delivered, and is not", act=told.act)


def delivered_means_taken(outcome: Outcome) -> Iterator[Violation]:
    """A delivered lead is in the log of each of its takers; a rejected or failed one in nobody's."""
    took = {(heard.buyer, heard.email) for heard in outcome.history.heard if heard.has_taken}
    for lead in outcome.left.leads:
        email = lead.data["email"]
        takers = {buyer for buyer, taken in took if taken == email}
        if lead.is_test:
            continue
        if lead.state is LeadState.DELIVERED and not set(lead.takers) <= takers:
            yield Violation(promise="taken", what=f"{lead.takers} have {email}, who say no", act=_number(email))
        if lead.state is LeadState.DELIVERED and lead.buyer not in takers:
            yield Violation(promise="taken", what=f"{lead.buyer} does not have {email}", act=_number(email))
    leads_of = defaultdict(list)
    for lead in outcome.left.leads:
        leads_of[lead.data["email"]].append(lead)
    for buyer, email in took:
        if not any(_may_have(lead, buyer) for lead in leads_of[email]):
            yield Violation(promise="taken", what=f"{buyer} has {email}, unknown to us", act=_number(email))


def _may_have(lead: Lead, buyer: str) -> bool:
    """Whether our books say that this buyer has, or may have, the lead."""
    clear_no = {AttemptOutcome.REJECTED, AttemptOutcome.NOT_SENT}
    may = any(each.buyer == buyer and each.outcome not in clear_no for each in lead.attempts)
    return may and lead.state in (LeadState.DELIVERED, LeadState.UNKNOWN)


def one_key_one_answer(outcome: Outcome) -> Iterator[Violation]:
    """Equal calls under one key are of one lead, and hear the same to the last byte.

    Except where the first never came to its answer, or had to be answered before the lead's end: then a later one
    hears what became of it.
    """
    acts = {act.number: act for act in outcome.plan.acts if act.is_keyed}
    answers: dict[tuple[int, str], list[PostAnswer]] = defaultdict(list)
    for told in outcome.history.told:
        if told.act in acts and told.name != "ping" and isinstance(told.answer, PostAnswer):
            answers[(told.act, told.name)].append(told.answer)
    for (act, name), heard in answers.items():
        if len({answer.lead_id for answer in heard if answer.lead_id}) > 1:
            yield Violation(promise="one_key", what=f"{name} {act} was told of several leads", act=act)
        is_plain = acts[act].deadline_s is None and not outcome.plan.faults
        if is_plain and len(set(heard)) > 1:
            yield Violation(promise="one_key", what=f"{name} {act} heard different answers", act=act)


# ---- I4: nothing stays in flight, nothing live is swept ----


def nothing_in_flight(outcome: Outcome) -> Iterator[Violation]:
    """Every lead has come to an end, and who does not know it lists it."""
    for lead in outcome.left.in_flight:
        act = _number(lead.data["email"])
        yield Violation(promise="in_flight", what=f"{lead.lead_id} is still {lead.state}", act=act)
    unknown = {lead.lead_id for lead in outcome.left.leads if lead.state is LeadState.UNKNOWN}
    for lead_id in unknown ^ outcome.left.unresolved:
        yield Violation(promise="in_flight", what=f"{lead_id} is unknown, and not listed")


def the_living_are_not_swept(outcome: Outcome) -> Iterator[Violation]:
    """Only leads of processes that are gone, or were not heard of for a lease, are settled by others."""
    if outcome.history.is_anyone_suspect:
        return
    for lead in outcome.left.leads:
        if lead.detail == SWEPT and lead.worker not in outcome.history.suspects:
            act = _number(lead.data["email"])
            yield Violation(promise="sweep", what=f"a lead of {lead.worker}, which lives, was swept", act=act)


# ---- I5, I8: caps and money ----


def caps_hold(outcome: Outcome) -> Iterator[Violation]:
    """No counter is ever above its limit, and no buyer has taken more leads than he wants."""
    for overdrawn in dict.fromkeys(outcome.history.overdrawn):
        yield Violation(promise="caps", what=overdrawn)
    rules = outcome.plan.rules
    taken = {
        (_campaign(outcome, heard), heard.buyer, heard.email) for heard in outcome.history.heard if heard.has_taken
    }
    for (campaign, buyer), count in Counter((campaign, buyer) for campaign, buyer, _ in taken).items():
        if rules.cap is not None and count > rules.cap:
            yield Violation(promise="caps", what=f"{buyer} has {count} leads of {campaign}, at most {rules.cap}")


def slots_follow_leads(outcome: Outcome) -> Iterator[Violation]:
    """When all is settled a slot is taken for each lead that a buyer has, and for no other; money likewise."""
    if outcome.plan.rules.sell_to > 1:
        return  # an operator's one word for two unknown buyers need not be true of both
    wanted: Counter[str] = Counter()
    rules = outcome.plan.rules
    for heard in {(heard.buyer, heard.email): heard for heard in outcome.history.heard if heard.has_taken}.values():
        campaign = _campaign(outcome, heard)
        buyer = f"{campaign}:buyer:{heard.buyer}"
        wanted[f"{buyer}:leads:total:all"] += bool(rules.cap)
        wanted[f"{buyer}:money:total:all"] += heard.bid_micros * bool(rules.budget)
        src = "SRC_A" if campaign == "auto" else "SRC_D"
        wanted[f"{campaign}:source:{src}:leads:total:all"] += bool(rules.source_cap)
    for counter in wanted.keys() | outcome.settled.used.keys():
        used = outcome.settled.used.get(counter, 0)
        if used != wanted[counter]:
            yield Violation(promise="slots", what=f"{counter} stands at {used}, buyers have {wanted[counter]}")


def money_follows_bids(outcome: Outcome) -> Iterator[Violation]:
    """A delivered lead owes what its buyer bid, and earns the source its share of that, or what it was promised."""
    if outcome.plan.rules.sell_to > 1:
        return
    bids = {(heard.buyer, heard.email): heard.bid_micros for heard in outcome.history.heard}
    for lead in outcome.left.leads:
        if lead.is_test or lead.state is not LeadState.DELIVERED:
            continue
        act = _number(lead.data["email"])
        if lead.price_micros != bids.get((lead.buyer or "", lead.data["email"])):
            yield Violation(promise="money", what=f"lead {act} owes {lead.price_micros}", act=act)
        ping = outcome.left.pings.get(lead.ping_id or "")
        promised = ping.payout_micros if ping else round((lead.price_micros or 0) * SHARE)
        if lead.payout_micros != promised:
            yield Violation(promise="money", what=f"lead {act} earns {lead.payout_micros}, not {promised}", act=act)


# ---- I10, I11: time and tidiness ----


def pings_answer_in_time(outcome: Outcome) -> Iterator[Violation]:
    """Whatever buyers do, a ping takes no longer than the campaign allows, unless the disk is at fault."""
    if any(fault.kind in DISK_FAULTS for fault in outcome.plan.faults):
        return
    for told in outcome.history.told:
        took_s = told.at_s - told.asked_s
        if told.name == "ping" and told.answer and took_s > PING_TIMEOUT_S + SLACK_S:
            yield Violation(promise="in_time", what=f"the ping of lead {told.act} took {took_s:.2f} s", act=told.act)


def nothing_leaks(outcome: Outcome) -> Iterator[Violation]:
    """A node that has stopped runs nothing."""
    for leak in outcome.history.leaked:
        yield Violation(promise="leaks", what=leak)


def nothing_breaks(outcome: Outcome) -> Iterator[Violation]:
    """What goes on in the background goes on, whatever breaks there; only the log would tell."""
    for line in outcome.history.broken:
        yield Violation(promise="breaks", what=line)


def who_may_be_asked_again_is(outcome: Outcome) -> Iterator[Violation]:
    """A lead of unknown outcome goes once more to a buyer who takes a repeat for the same lead."""
    if outcome.plan.faults:
        return
    for lead in outcome.left.leads:
        open_at = [attempt for attempt in lead.attempts if attempt.outcome not in DEFINITE]
        may_repeat = [attempt for attempt in open_at if attempt.buyer in outcome.plan.rules.idempotent]
        if lead.state is LeadState.UNKNOWN and may_repeat and not any(attempt.resends for attempt in may_repeat):
            yield Violation(promise="asked_again", what=f"{lead.lead_id} was not", act=_number(lead.data["email"]))


CHECKS: tuple[Check, ...] = (
    sold_once,
    moves_on_only_where_it_may,
    tests_reach_nobody,
    foreign_posts_reach_nobody,
    expired_stays_expired,
    acknowledged_pings_are_kept,
    acknowledged_posts_are_kept,
    delivered_means_taken,
    one_key_one_answer,
    nothing_in_flight,
    the_living_are_not_swept,
    who_may_be_asked_again_is,
    caps_hold,
    slots_follow_leads,
    money_follows_bids,
    pings_answer_in_time,
    nothing_leaks,
    nothing_breaks,
)


def _number(email: str) -> int:
    return int(email.split("@")[0].removeprefix("lead."))


def _email(act: int) -> str:
    return f"lead.{act}@example.com"


def _act(outcome: Outcome, number: int) -> Act:
    return next(act for act in outcome.plan.acts if act.number == number)


def _is_direct(outcome: Outcome, number: int) -> bool:
    return _act(outcome, number).is_direct


def _campaign(outcome: Outcome, heard: Heard) -> str:
    return "direct" if _is_direct(outcome, _number(heard.email)) else "auto"
