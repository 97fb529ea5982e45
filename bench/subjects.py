"""What most groups measure: calls under which a server stands, with buyers behind it or without."""

import json
from dataclasses import dataclass
from pathlib import Path

from bench.buyers import Buyers
from bench.lab import Lab, Served
from bench.load import IN_FLIGHT, LoadFor
from bench.measure import Sample, Subject, served

SPARE_POSTS = 2.0  # times as long is pinged as is posted


def under(load: LoadFor, server: Served, name: str, label: str) -> Subject:
    """A server under a load that reaches no buyer."""
    return Subject(name=name, label=label, measure=served(server, load))


@dataclass(frozen=True, slots=True)
class Pings:
    """Pings that each reach as many buyers as they should; each round may begin with a lead-in that is not measured."""

    lab: Lab
    buyers: Buyers
    lead_in_s: float = 0

    def over_grpc(
        self,
        name: str,
        label: str,
        server: Served,
        buyer_calls: int,
        *,
        call: str = "ping",
        body: Path | None = None,
    ) -> Subject:
        """`call` names a file of bench/ghz, `body` one with other requests than that names."""
        return self._subject(name, label, server, buyer_calls, self.lab.generator.grpc(server.grpc, call, body=body))

    def over_rest(
        self,
        name: str,
        label: str,
        server: Served,
        buyer_calls: int,
        *,
        call: str = "ping",
        in_flight: int = IN_FLIGHT,
    ) -> Subject:
        """`call` names a file of bench/calls."""
        load = self.lab.generator.http(server.http, "/ping", call, in_flight=in_flight)
        return self._subject(name, label, server, buyer_calls, load)

    def then_posts(self, name: str, label: str, server: Served, *, connections: int | None = None) -> Subject:
        """Posts to the winners of pings that are made before each round, every id used once."""
        generator, body = self.lab.generator, self.lab.folder / f"posts-{name}.json"

        def ping_before(seconds: float) -> None:
            generator.write_posts(server.grpc, seconds, body)

        def post(seconds: float) -> Sample:
            count = len(json.loads(body.read_text()))
            load = generator.grpc(server.grpc, "post", body=body, calls=count, connections=connections)
            return served(server, load, buyers=self.buyers, buyer_calls=1)(seconds)

        return Subject(name=name, label=label, measure=post, prepare=ping_before)

    def then_rest_posts(self, name: str, label: str, server: Served, *, made_by: Served) -> Subject:
        """The same over REST; `made_by` is the exchange, `server` what stands in front of it. wrk counts seconds, not
        calls: there are more ids than it takes."""
        generator = self.lab.generator
        made, lines = (self.lab.folder / f"posts-{name}.{ending}" for ending in ("json", "lines"))

        def ping_before(seconds: float) -> None:
            generator.write_posts(made_by.grpc, max(1.0, seconds) * SPARE_POSTS, made)
            lines.write_text("".join(f"{json.dumps(post)}\n" for post in json.loads(made.read_text())))

        load = generator.http(server.http, "/post", bodies=lines)
        measure = served(server, load, buyers=self.buyers, buyer_calls=1)
        return Subject(name=name, label=label, measure=measure, prepare=ping_before)

    def _subject(self, name: str, label: str, server: Served, buyer_calls: int, load: LoadFor) -> Subject:
        def lead_in(seconds: float) -> None:
            load(self.lead_in_s)

        measure = served(server, load, buyers=self.buyers, buyer_calls=buyer_calls)
        return Subject(name=name, label=label, measure=measure, prepare=lead_in if self.lead_in_s else None)
