"""The groups of measurements. Subjects of one group take turns, so that their ratios are of the same minute."""

import json
from collections.abc import Callable
from pathlib import Path

from bench.buyers import Buyers
from bench.campaigns import CampaignShape
from bench.child import ROOT
from bench.lab import Lab, Served
from bench.load import LoadFor
from bench.measure import Plan, Results, Sample, Subject, interleave, served
from bench.memory import measure_memory
from bench.overload import measure_overload
from bench.stores import measure_stores

CAMPAIGNS = 1000
ZIPS = 40_000
PEER_IN_FLIGHT = (2, 4, 8)
TRIAL_S = 1.0

Group = Callable[[Lab, Plan, Results], None]


def front(lab: Lab, plan: Plan, results: Results) -> None:
    """What a call costs before any buyer is asked: test-mode pings against servers that only echo."""
    grpc_echo, http_echo = lab.echo("grpc"), lab.echo("http")
    shapes = [CampaignShape(urls=("http://127.0.0.1:9",))]
    ours, by_aio = lab.exchange(shapes), lab.exchange(shapes, engine="aio")
    apart = lab.gateway(ours)
    generator = lab.generator
    subjects = [
        _subject("grpc_echo", "gRPC echo, bare grpc.aio", grpc_echo, generator.grpc(grpc_echo.grpc, "echo")),
        _subject("grpc_test_aio", "gRPC test-mode ping, aio", by_aio, generator.grpc(by_aio.grpc, "ping_test")),
        _subject("grpc_test", "gRPC test-mode ping, turbo", ours, generator.grpc(ours.grpc, "ping_test")),
        _subject(
            "http_echo", "HTTP echo, bare Starlette", http_echo, generator.http(http_echo.http, "/ping", "ping_test")
        ),
        _subject(
            "rest_test", "REST test-mode /ping, in process", ours, generator.http(ours.http, "/ping", "ping_test")
        ),
        _subject(
            "rest_channel",
            "REST test-mode /ping, gateway over a channel",
            apart,
            generator.http(apart.http, "/ping", "ping_test"),
        ),
    ]
    interleave(subjects, plan, results)


def auction(lab: Lab, plan: Plan, results: Results) -> None:
    """Five buyers: ours over gRPC and REST, and the peer at the setting that it is fastest with."""
    buyers = lab.buyers()
    urls = buyers.urls[:5]
    shapes = [CampaignShape(urls=urls)]
    peer, ours, by_aio = lab.peer(urls), lab.exchange(shapes), lab.exchange(shapes, engine="aio")
    best = _best_in_flight(lab, peer)
    plan.say(f"the peer is fastest with {best} calls in flight")
    http = lab.generator.http
    subjects = [
        Subject(
            name="peer_5",
            label=f"FastAPI peer, 5 buyers, {best} in flight",
            measure=served(peer, http(peer.http, "/ping", "ping", in_flight=best), buyers=buyers, buyer_calls=5),
        ),
        _asking("grpc_5_aio", "gRPC ping, 5 buyers, aio", by_aio, buyers, lab, 5),
        _asking("grpc_5", "gRPC ping, 5 buyers, turbo", ours, buyers, lab, 5),
        Subject(
            name="rest_5",
            label="REST /ping, 5 buyers",
            measure=served(ours, http(ours.http, "/ping", "ping"), buyers=buyers, buyer_calls=5),
        ),
    ]
    interleave(subjects, plan, results)


def outbound(lab: Lab, plan: Plan, results: Results) -> None:
    """Calls to buyers: the ceiling of this machine, our client alone, and inside pings to twenty buyers."""
    buyers = lab.buyers()
    ours = lab.exchange([CampaignShape(urls=buyers.urls)])
    subjects = [
        Subject(name="raw", label="outbound calls, raw protocol (ceiling)", measure=_alone(lab, buyers, "raw")),
        Subject(name="client", label="outbound calls, buyer client alone", measure=_alone(lab, buyers, "client")),
        _asking("grpc_20", "gRPC ping, 20 buyers", ours, buyers, lab, 20),
    ]
    interleave(subjects, plan, results)


def posts(lab: Lab, plan: Plan, results: Results) -> None:
    """Posts to the winner of pings made before, each id used once, and direct posts; one buyer."""
    buyers = lab.buyers()
    urls = buyers.urls[:1]
    ours, direct = lab.exchange([CampaignShape(urls=urls)]), lab.exchange([CampaignShape(urls=urls, is_direct=True)])
    body = lab.folder / "posts.json"

    def ping_before(seconds: float) -> None:
        lab.generator.write_posts(ours.grpc, seconds, body)

    def post(seconds: float) -> Sample:
        count = len(json.loads(body.read_text()))
        load = lab.generator.grpc(ours.grpc, "post", body=body, calls=count)
        return served(ours, load, buyers=buyers, buyer_calls=1)(seconds)

    direct_load = lab.generator.grpc(direct.grpc, "direct_post")
    subjects = [
        _asking("grpc_1", "gRPC ping, 1 buyer", ours, buyers, lab, 1),
        Subject(name="grpc_post", label="gRPC post to the winner", measure=post, prepare=ping_before),
        Subject(
            name="direct_1",
            label="gRPC direct post, 1 buyer (ping and post)",
            measure=served(direct, direct_load, buyers=buyers, buyer_calls=2),
        ),
    ]
    interleave(subjects, plan, results)


def workers(lab: Lab, plan: Plan, results: Results) -> None:
    """Two processes against one. The kernel spreads connections, so there are many of them."""
    cores = lab.cores
    if len(cores.workers) < 2:
        results.notes.append("workers: not measured, two workers need two cores")
        return
    shape = CampaignShape(urls=("http://127.0.0.1:9",))
    one, two = lab.exchange([shape]), lab.exchange([shape], workers=2)
    load_one = lab.generator.grpc(one.grpc, "ping_test", connections=50)
    load_two = lab.generator.grpc(two.grpc, "ping_test", connections=50, cores=cores.workers | {cores.load})
    shared_cores = None if cores.is_load_apart else len(cores.workers)
    subjects = [
        _subject("workers_1", "gRPC test-mode ping, 50 connections, 1 worker", one, load_one),
        Subject(
            name="workers_2",
            label="gRPC test-mode ping, 50 connections, 2 workers",
            measure=served(two, load_two, core_count=shared_cores),
        ),
    ]
    if shared_cores:
        results.notes.append("2 workers had both cores and the load took part of them: the ratio counts what it left")
    interleave(subjects, plan, results)


def campaigns(lab: Lab, plan: Plan, results: Results) -> None:
    """A thousand campaigns against one; pings go to all sources in turn."""
    buyers = lab.buyers()
    urls = buyers.urls[:1]
    sources = [f"SRC_{index}" for index in range(CAMPAIGNS)]
    one = lab.exchange([CampaignShape(urls=urls, src=sources[0])])
    many = lab.exchange([CampaignShape(urls=urls, src=src) for src in sources])
    one_body = _write_pings(lab.folder / "one-source.json", sources[:1] * CAMPAIGNS)
    many_body = _write_pings(lab.folder / "many-sources.json", sources)
    subjects = [
        _asking("campaigns_1", "gRPC ping, 1 buyer, 1 campaign", one, buyers, lab, 1, one_body),
        _asking("campaigns_1000", f"gRPC ping, 1 buyer, {CAMPAIGNS:,} campaigns", many, buyers, lab, 1, many_body),
    ]
    interleave(subjects, plan, results)


def zips(lab: Lab, plan: Plan, results: Results) -> None:
    """Five buyers who each want any of 40,000 ZIP codes against five who want any ZIP code."""
    buyers = lab.buyers()
    urls = buyers.urls[:5]
    without, with_zips = (
        lab.exchange([CampaignShape(urls=urls)]),
        lab.exchange([CampaignShape(urls=urls, zip_count=ZIPS)]),
    )
    subjects = [
        _asking("zips_none", "gRPC ping, 5 buyers, no ZIP filter", without, buyers, lab, 5),
        _asking("zips_40000", f"gRPC ping, 5 buyers, {ZIPS:,} ZIP codes each", with_zips, buyers, lab, 5),
    ]
    interleave(subjects, plan, results)


GROUPS: dict[str, Group] = {
    "front": front,
    "auction": auction,
    "outbound": outbound,
    "posts": posts,
    "workers": workers,
    "campaigns": campaigns,
    "zips": zips,
    "memory": measure_memory,
    "overload": measure_overload,
    "stores": measure_stores,
}


def _subject(name: str, label: str, server: Served, load: LoadFor) -> Subject:
    return Subject(name=name, label=label, measure=served(server, load))


def _asking(
    name: str, label: str, server: Served, buyers: Buyers, lab: Lab, buyer_calls: int, body: Path | None = None
) -> Subject:
    """Pings over gRPC that each reach so many buyers."""
    load = lab.generator.grpc(server.grpc, "ping", body=body)
    return Subject(name=name, label=label, measure=served(server, load, buyers=buyers, buyer_calls=buyer_calls))


def _alone(lab: Lab, buyers: Buyers, what: str) -> Callable[[float], Sample]:
    def measure(seconds: float) -> Sample:
        found = lab.outbound(what, seconds, buyers.urls)
        per_s = found["calls"] / found["elapsed_s"]
        return Sample(
            calls_per_s=per_s,
            cpu_us=found["cpu_s"] / found["calls"] * 1e6,
            resident_mib=found["resident_bytes"] / 2**20,
            busy=found["cpu_s"] / found["elapsed_s"],
            outbound_per_s=per_s,
            scaled_per_s=per_s,
        )

    return measure


def _best_in_flight(lab: Lab, peer: Served) -> int:
    speeds: dict[int, float] = {}
    lab.generator.http(peer.http, "/ping", "ping")(TRIAL_S)
    for in_flight in PEER_IN_FLIGHT:
        seen = lab.generator.http(peer.http, "/ping", "ping", in_flight=in_flight)(TRIAL_S)
        speeds[in_flight] = seen.calls / seen.elapsed_s
    return max(speeds, key=lambda in_flight: speeds[in_flight])


def _write_pings(path: Path, sources: list[str]) -> Path:
    ping = json.loads((ROOT / "bench/calls/ping.json").read_text())
    path.write_text(json.dumps([{**ping, "SRC": src} for src in sources]))
    return path
