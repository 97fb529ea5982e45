"""Machine: Hypothesis calls the exchange and the model alike, and after each step the two must agree."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, precondition, rule

from lexchange.call import Call, PingAnswer, PostAnswer
from lexchange.errors import RequestRefused
from tests.model.model import ENDS, MICROS, Lead, Model, Ping, Post, Story, Told, follow
from tests.model.stage import LEASE_OVER_S, Theatre
from tests.simulation.plan import BUYERS, Rules
from tests.simulation.world import lead_fields

TTL_S = 60
PING_POINTS = ("request_sent", "ping_before_record", "ping_recorded")
POST_POINTS = (
    "claim_before",
    "claim_committed",
    "post_before_send",
    "request_sent",
    "post_answered",
    "attempt_before",
    "attempt_committed",
    "finish_committed",
)
KEY_POINTS = ("answer_before_remember", "answer_remembered")

RULES = st.builds(
    Rules,
    sell_to=st.just(1),
    moves_on=st.sampled_from((True, True, False)),
    cap=st.sampled_from((None, 1, 2)),
    source_cap=st.sampled_from((None, None, 3)),
    budget=st.sampled_from((None, None, 13)),
    reserve=st.sampled_from(("post", "ping")),
    mode=st.just("highest_bid"),
    duplicates=st.booleans(),
    idempotent=st.just(()),
    ping_ttl_s=st.just(TTL_S),
)
# More than one way to say yes, so that most leads get somewhere.
BIDS = st.sampled_from(
    (8 * MICROS, 6 * MICROS, 6 * MICROS, 4 * MICROS, 3 * MICROS, "no_bid", "hang", "garbage", "down")
)
ANSWERS = st.fixed_dictionaries(dict.fromkeys(BUYERS, BIDS))
FATES = st.fixed_dictionaries(dict.fromkeys(BUYERS, st.sampled_from((*ENDS, "accept", "accept", *["reject"] * 5))))
PHONES = st.sampled_from(("3105550101", "3105550102", "3105550103", "3105550104"))
KEYS = st.sampled_from(("own", "own", "shared"))
STRAYS = st.sampled_from((*[""] * 6, "foreign", "invented", "of the other kind"))
RARELY = st.integers(0, 7).map(lambda number: number == 7)


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """Where the process dies in a call, if it does, and whether the next one runs on the same machine."""

    point: str = ""
    nth: int = 0
    is_elsewhere: bool = False


def deaths(points: Sequence[str]) -> st.SearchStrategy[Death]:
    """None as often as one at any of these points."""
    dies = st.builds(Death, point=st.sampled_from(points), nth=st.sampled_from((1, 1, 2)), is_elsewhere=st.booleans())
    return st.just(Death()) | dies


class Exchanging(RuleBasedStateMachine):
    """`pings` holds the e-mails of leads that were offered, `calls` the posts and direct posts under a key."""

    pings: Bundle[str] = Bundle("pings")
    calls: Bundle[Post] = Bundle("calls")
    theatre: Theatre | None = None

    @initialize(rules=RULES)
    def open(self, rules: Rules) -> None:
        self.theatre = Theatre(rules)
        self.model = Model(rules)
        self.ping_ids: dict[str, str] = {}
        self.count = 0

    def teardown(self) -> None:
        if self.theatre:
            self.theatre.close()

    # ---- what sources do ----

    @rule(target=pings, phone=PHONES, answers=ANSWERS, is_test=RARELY, death=deaths(PING_POINTS))
    def ping(self, phone: str, answers: Mapping[str, int | str], is_test: bool, death: Death) -> Any:
        email = self._email()
        now_ms = self.stage.now_ms
        story = self.model.ping(
            Ping(email=email, phone=phone, expires_ms=now_ms + TTL_S * 1000, is_test=is_test), answers, now_ms
        )
        call = self._call("SRC_A", email, phone, is_test=is_test)
        self.stage.stage.buyers.script(answers, {})
        answer = self._play("ping", call, story, death)
        if answer is None:
            self._settle(death, None)
        return email if isinstance(answer, PingAnswer) and answer.ping_id else multiple()

    @rule(email=pings, fates=FATES, death=deaths(POST_POINTS), stray=STRAYS)
    def post(self, email: str, fates: Mapping[str, str], death: Death, stray: str) -> None:
        """The first time, and again; rarely somebody else's ping, nobody's, or a test of a live one or vice versa."""
        post = self._request(email, fates)
        if stray == "foreign":
            post = replace(post, src="SRC_FOREIGN")
        elif stray == "invented":
            post = replace(post, email=self._email())
        elif stray == "of the other kind":
            post = replace(post, is_test=not post.is_test)
        self._post(post, death)

    @rule(target=pings, phone=PHONES, answers=ANSWERS, fates=FATES, death=deaths(POST_POINTS))
    def ping_and_post(
        self, phone: str, answers: Mapping[str, int | str], fates: Mapping[str, str], death: Death
    ) -> Any:
        """What most sources do."""
        email = self.ping(phone, answers, False, Death())
        if isinstance(email, str):
            self.post(email, fates, death, "")
        return email

    @rule(target=calls, email=pings, key=KEYS, fates=FATES, death=deaths(POST_POINTS + KEY_POINTS))
    def keyed_post(self, email: str, key: str, fates: Mapping[str, str], death: Death) -> Post:
        post = self._request(email, fates, key=email if key == "own" else key)
        self._post(post, death)
        return post

    @rule(
        target=calls,
        phone=PHONES,
        answers=ANSWERS,
        fates=FATES,
        key=st.just("") | KEYS,
        is_test=RARELY,
        death=deaths(PING_POINTS[:1] + POST_POINTS + KEY_POINTS),
    )
    def direct_post(
        self,
        phone: str,
        answers: Mapping[str, int | str],
        fates: Mapping[str, str],
        key: str,
        is_test: bool,
        death: Death,
    ) -> Any:
        email = self._email()
        post = Post(
            src="SRC_D",
            email=email,
            phone=phone,
            now_ms=self.stage.now_ms,
            fates=fates,
            bids=answers,
            is_test=is_test,
            is_direct=True,
            key=email if key == "own" else key,
        )
        self._post(post, death)
        return post if key else multiple()

    @rule(post=calls, is_changed=RARELY, fates=FATES, death=deaths(POST_POINTS + KEY_POINTS))
    def repeat(self, post: Post, is_changed: bool, fates: Mapping[str, str], death: Death) -> None:
        """The same call under the same key, rarely with another body."""
        note = "changed" if is_changed else post.note
        self._post(replace(post, now_ms=self.stage.now_ms, fates=fates, note=note), death)

    # ---- what operators do, and what happens ----

    @rule(seconds=st.sampled_from((3, 35, TTL_S + 1)))
    def time_passes(self, seconds: int) -> None:
        self.stage.wait(seconds)

    @rule(cap=st.integers(1, 3), source_cap=st.integers(1, 5))
    def caps_are_edited(self, cap: int, source_cap: int) -> None:
        self.model.edit_caps(cap, source_cap)
        self.stage.stage.reload(self.model.rules)

    @rule(is_killed=st.booleans(), is_elsewhere=st.booleans())
    def process_is_replaced(self, is_killed: bool, is_elsewhere: bool) -> None:
        """While nothing is under way."""
        if is_killed:
            self.stage.kill()
        else:
            self.stage.stop()
        self.stage.restart(is_elsewhere=is_elsewhere)
        self.model.sweep()

    @precondition(lambda self: self._unknown())
    @rule(number=st.integers(0, 9), state=st.sampled_from(("delivered", "failed")))
    def reconcile(self, number: int, state: str) -> None:
        """A lead of unknown outcome; once its end is known it is left alone."""
        unknown = self._unknown()
        lead = unknown[number % len(unknown)]
        lead_id = next(each.lead_id for each in self.stage.leads() if each.data["email"] == lead.email)
        for word in (state, "failed"):
            assert self.stage.reconcile(lead_id, word) is self.model.reconcile(lead, word)

    # ---- what must hold ----

    @invariant()
    def store_is_as_the_model_says(self) -> None:
        wanted, found = self.model.facts(self.stage.now_ms), self.stage.facts()
        for name in wanted:
            assert found[name] == wanted[name], f"{name}: found {found[name]}, expected {wanted[name]}"

    @invariant()
    def nobody_gets_a_lead_twice(self) -> None:
        twice = [got for got, count in Counter(self.model.got).items() if count > 1]
        assert not twice, twice

    # ---- steps ----

    @property
    def stage(self) -> Theatre:
        assert self.theatre is not None
        return self.theatre

    def _unknown(self) -> list[Lead]:
        return [lead for lead in self.model.leads if lead.state == "unknown"]

    def _email(self) -> str:
        self.count += 1
        return f"lead.{self.count}@example.com"

    def _request(self, email: str, fates: Mapping[str, str], key: str = "") -> Post:
        """A post of a ping's lead."""
        ping = self.model.pings[email]
        return Post(
            src="SRC_A",
            email=email,
            phone=ping.phone,
            now_ms=self.stage.now_ms,
            fates=fates,
            is_test=ping.is_test,
            key=key,
        )

    def _call(self, src: str, email: str, phone: str, *, is_test: bool) -> Call:
        return Call(src=src, key=f"key of {src}", data=lead_fields(email, phone, is_test=is_test))

    def _post(self, post: Post, death: Death) -> None:
        call = self._call(post.src, post.email, post.phone, is_test=post.is_test)
        call = replace(
            call,
            data={**call.data, **({"city": post.note} if post.note else {})},
            ping_id="" if post.is_direct else self.ping_ids.get(post.email, "PING-0193D5F1C4A0B2C3D4E5F60718293A4B"),
            idempotency_key=post.key,
        )
        self.stage.stage.buyers.script(post.bids, post.fates)
        if self._play("direct_post" if post.is_direct else "post", call, self.model.post(post), death) is None:
            may_repeat = post.key or not post.is_direct  # else it is another sale
            self._settle(death, replace(post, now_ms=self.stage.now_ms) if may_repeat else None)

    def _play(self, name: str, call: Call, story: Story, death: Death) -> Any:
        """Call the exchange, tell the model's story as far, and compare what is heard; None where the process died."""
        answer = self.stage.ask(name, call, (death.point, death.nth))
        wanted = follow(story, (death.point, death.nth))
        if wanted is None:
            assert answer is None, f"the process did not get to {death.point}: {answer}"
            self.stage.restart(is_elsewhere=death.is_elsewhere)
            return None
        assert answer is not None, f"the process died at {death.point}, where it should not have come"
        if isinstance(answer, PingAnswer) and answer.ping_id:
            self.ping_ids[call.data["email"]] = answer.ping_id
        heard = self._heard(answer)
        assert heard == wanted, f"heard {heard}, expected {wanted}"
        return answer

    def _settle(self, death: Death, again: Post | None) -> None:
        """After a death: on the same machine what was under way is settled at once, elsewhere when the lease is over.

        Whoever heard nothing of his post asks again, before and after.
        """
        if death.is_elsewhere:
            self.store_is_as_the_model_says()
            if again:
                self._post(again, Death())
            self.stage.wait(LEASE_OVER_S)
        self.model.sweep()
        self.store_is_as_the_model_says()
        if again:
            self._post(replace(again, now_ms=self.stage.now_ms), Death())

    def _heard(self, answer: PingAnswer | PostAnswer | RequestRefused) -> Told:
        if isinstance(answer, RequestRefused):
            return Told(status="error", reason=answer.reason)
        told = Told(status=answer.status, reason=answer.reason or "", payout=answer.payout_micros)
        if isinstance(answer, PingAnswer):
            return told
        leads = {lead.lead_id: lead.data["email"] for lead in self.stage.leads()}
        assert not answer.lead_id or answer.lead_id in leads, f"{answer.lead_id} was told, and is not stored"
        lead = leads.get(answer.lead_id, "")
        return replace(told, outcome=answer.outcome or "", lead=lead)
