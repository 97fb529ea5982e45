"""The groups of measurements. Subjects of one group take turns, so that their ratios are of the same minute."""

from collections.abc import Callable

from bench.buyers import Buyers
from bench.campaigns import CampaignShape
from bench.curves import buyers, campaigns, listed, workers
from bench.fronts import front, peers
from bench.lab import Lab, Served
from bench.latency import measure_latency
from bench.load import LoadFor
from bench.measure import Plan, Results, Sample, Subject, interleave, served
from bench.memory import measure_memory
from bench.overload import measure_overload
from bench.stored import measure_stored
from bench.stores import measure_stores
from bench.subjects import Pings

ZIPS = 40_000
PEER_IN_FLIGHT = (1, 2, 4, 8)
TRIAL_S = 1.0

Group = Callable[[Lab, Plan, Results], None]


def auction(lab: Lab, plan: Plan, results: Results) -> None:
    """Five buyers: ours over gRPC and REST, and the peer at the setting that it is fastest with."""
    found = lab.buyers()
    urls = found.urls[:5]
    shapes = [CampaignShape(urls=urls)]
    ours, by_aio = lab.exchange(shapes), lab.exchange(shapes, engine="aio")
    pings = Pings(lab, found)
    subjects = [
        pings.over_grpc("grpc_5_aio", "gRPC ping, 5 buyers, aio", by_aio, 5),
        pings.over_grpc("grpc_5", "gRPC ping, 5 buyers, turbo", ours, 5),
        pings.over_rest("rest_5", "REST /ping, 5 buyers", ours, 5),
    ]
    if lab.tools.fastapi_python and lab.tools.wrk:
        peer = lab.peer(urls)
        best = _best_in_flight(lab, peer)
        plan.say(f"the peer is fastest with {best} calls in flight")
        label = f"FastAPI peer, 5 buyers, {best} in flight"
        subjects.insert(0, pings.over_rest("peer_5", label, peer, 5, in_flight=best))
    interleave(subjects, plan, results)


def outbound(lab: Lab, plan: Plan, results: Results) -> None:
    """Calls to buyers: the ceiling of this machine, our client alone, and inside pings to twenty buyers."""
    found = lab.buyers()
    ours = lab.exchange([CampaignShape(urls=found.urls)])
    subjects = [
        Subject(name="raw", label="outbound calls, raw protocol (ceiling)", measure=_alone(lab, found, "raw")),
        Subject(name="client", label="outbound calls, buyer client alone", measure=_alone(lab, found, "client")),
        Pings(lab, found).over_grpc("grpc_20", "gRPC ping, 20 buyers", ours, 20),
    ]
    interleave(subjects, plan, results)


def posts(lab: Lab, plan: Plan, results: Results) -> None:
    """Posts to the winner of pings made before, each id used once, and direct posts; one buyer; gRPC and REST."""
    found = lab.buyers()
    urls = found.urls[:1]
    ours, direct = lab.exchange([CampaignShape(urls=urls)]), lab.exchange([CampaignShape(urls=urls, is_direct=True)])
    apart, direct_apart = lab.gateway(ours), lab.gateway(direct)
    pings, generator = Pings(lab, found), lab.generator

    def direct_post(name: str, label: str, server: Served, load: LoadFor) -> Subject:
        return Subject(name=name, label=label, measure=served(server, load, buyers=found, buyer_calls=2))

    def direct_rest(name: str, label: str, server: Served) -> Subject:
        return direct_post(name, label, server, generator.http(server.http, "/direct_post", "direct_post"))

    what = "direct post, 1 buyer (ping and post)"
    subjects = [
        pings.over_grpc("grpc_1", "gRPC ping, 1 buyer", ours, 1),
        pings.then_posts("grpc_post", "gRPC post to the winner", ours),
        pings.then_rest_posts("rest_post", "REST /post to the winner", ours, made_by=ours),
        pings.then_rest_posts("channel_post", "REST /post to the winner, over a channel", apart, made_by=ours),
        direct_post("direct_1", f"gRPC {what}", direct, generator.grpc(direct.grpc, "direct_post")),
        direct_rest("direct_rest", f"REST {what}", direct),
        direct_rest("direct_channel", f"REST {what}, over a channel", direct_apart),
    ]
    interleave(subjects, plan, results)


def zips(lab: Lab, plan: Plan, results: Results) -> None:
    """Five buyers who each want any of 40,000 ZIP codes against five who want any ZIP code."""
    found = lab.buyers()
    urls = found.urls[:5]
    without = lab.exchange([CampaignShape(urls=urls)])
    with_zips = lab.exchange([CampaignShape(urls=urls, zip_count=ZIPS)])
    pings = Pings(lab, found)
    subjects = [
        pings.over_grpc("zips_none", "gRPC ping, 5 buyers, no ZIP filter", without, 5),
        pings.over_grpc("zips_40000", f"gRPC ping, 5 buyers, {ZIPS:,} ZIP codes each", with_zips, 5),
    ]
    interleave(subjects, plan, results)


GROUPS: dict[str, Group] = {
    "front": front,
    "peers": peers,
    "auction": auction,
    "buyers": buyers,
    "listed": listed,
    "outbound": outbound,
    "posts": posts,
    "workers": workers,
    "campaigns": campaigns,
    "zips": zips,
    "latency": measure_latency,
    "memory": measure_memory,
    "overload": measure_overload,
    "stored": measure_stored,
    "stores": measure_stores,
}


def _alone(lab: Lab, found: Buyers, what: str) -> Callable[[float], Sample]:
    def measure(seconds: float) -> Sample:
        seen = lab.outbound(what, seconds, found.urls)
        per_s = seen["calls"] / seen["elapsed_s"]
        return Sample(
            calls_per_s=per_s,
            cpu_us=seen["cpu_s"] / seen["calls"] * 1e6,
            resident_mib=seen["resident_bytes"] / 2**20,
            busy=seen["cpu_s"] / seen["elapsed_s"],
            outbound_per_s=per_s,
            scaled_per_s=per_s,
        )

    return measure


def _best_in_flight(lab: Lab, peer: Served) -> int:
    speeds: dict[int, float] = {}
    lab.generator.http(peer.http, "/ping", "ping")(TRIAL_S)
    for in_flight in PEER_IN_FLIGHT:
        load = lab.generator.http(peer.http, "/ping", "ping", in_flight=in_flight)
        speeds[in_flight] = load(TRIAL_S).answered_per_s
    return max(speeds, key=lambda in_flight: speeds[in_flight])
