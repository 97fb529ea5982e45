"""Curves: how fast pings are over the number of buyers asked and listed, of campaigns, and of processes."""

import json
import statistics
from pathlib import Path

from bench.campaigns import CampaignShape
from bench.child import ROOT
from bench.fronts import NOBODY
from bench.lab import Lab
from bench.measure import Plan, Results, Subject, interleave, served
from bench.subjects import Pings

ASKED = (0, 1, 5, 20, 50)  # none in test mode
LISTED = (1, 20, 200)
CAMPAIGNS = (1, 100, 1000)
PROCESSES = (1, 2, 4)
CONNECTIONS = 50  # which the kernel spreads over the processes
LEAD_IN_S = 0.3  # so many subjects take turns that connections to buyers are idle for too long, and are opened anew


def buyers(lab: Lab, plan: Plan, results: Results) -> None:
    """Pings to nobody, in test mode, and to more and more buyers: over gRPC by both engines, and over REST."""
    found = lab.buyers(max(ASKED))
    pings = Pings(lab, found, LEAD_IN_S)
    subjects: list[Subject] = []
    for count in plan.points(ASKED):
        shapes = [CampaignShape(urls=found.urls[:count] or NOBODY)]
        turbo, aio = (lab.exchange(shapes, engine=engine) for engine in ("turbo", "aio"))
        call, what = "ping" if count else "ping_test", _many(count, "buyer") if count else "test mode"
        subjects += [
            pings.over_grpc(f"buyers_{count}_turbo", f"gRPC ping, {what}, turbo", turbo, count, call=call),
            pings.over_grpc(f"buyers_{count}_aio", f"gRPC ping, {what}, aio", aio, count, call=call),
            pings.over_rest(f"buyers_{count}_rest", f"REST /ping, {what}", turbo, count, call=call),
            pings.over_rest(
                f"buyers_{count}_channel", f"REST /ping, {what}, over a channel", lab.gateway(turbo), count, call=call
            ),
        ]
    interleave(subjects, plan, results)


def listed(lab: Lab, plan: Plan, results: Results) -> None:
    """Campaigns that list more and more buyers, of whom a lead suits one; and one where it suits all."""
    found = lab.buyers(max(LISTED))
    pings = Pings(lab, found)
    subjects = []
    for count in plan.points(LISTED):
        ours = lab.exchange([CampaignShape(urls=found.urls[:count], suited=1)])
        subjects.append(
            pings.over_grpc(f"listed_{count}", f"gRPC ping, {_many(count, 'buyer')} listed, 1 eligible", ours, 1)
        )
    most = max(LISTED)
    ours = lab.exchange([CampaignShape(urls=found.urls)])
    subjects.append(pings.over_grpc("listed_all", f"gRPC ping, {most} buyers listed, all eligible", ours, most))
    interleave(subjects, plan, results)


def campaigns(lab: Lab, plan: Plan, results: Results) -> None:
    """More and more campaigns; pings go to all sources in turn. And how long they take to start, a median as well."""
    found = lab.buyers()
    pings = Pings(lab, found)
    subjects = []
    for count in plan.points(CAMPAIGNS):
        sources = [f"SRC_{index}" for index in range(count)]
        shapes = [CampaignShape(urls=found.urls[:1], src=src) for src in sources]
        ours = lab.exchange(shapes)
        body = _write_pings(lab.folder / f"pings-{count}.json", sources * (max(CAMPAIGNS) // count))
        label = f"gRPC ping, 1 buyer, {_many(count, 'campaign')}"
        subjects.append(pings.over_grpc(f"campaigns_{count}", label, ours, 1, body=body))
        started_s = [ours.started_s]
        for _ in range(1, plan.rounds):
            again = lab.exchange(shapes)
            started_s.append(again.started_s)
            again.stop()
        results.readings[f"start_{count}_s"] = statistics.median(started_s)
        plan.say(f"campaigns: {count:,} were ready to serve after {', '.join(f'{each:.2f}' for each in started_s)} s")
    interleave(subjects, plan, results)


def workers(lab: Lab, plan: Plan, results: Results) -> None:
    """Several processes against one. The kernel spreads connections, so there are many of them."""
    cores = lab.cores
    if len(cores.workers) < 2:
        results.notes.append("workers: not measured, two workers need two cores")
        return
    shared_cores = None if cores.is_load_apart else len(cores.workers)
    subjects = []
    for count in plan.points(PROCESSES):
        ours = lab.exchange([CampaignShape(urls=NOBODY)], workers=count)
        name = f"workers_{count}"
        label = f"gRPC test-mode ping, {CONNECTIONS} connections, {_many(count, 'worker')}"
        # One worker has the server's core to itself, several have all cores, and the load comes between.
        own, core_count = (cores.all, shared_cores) if count > 1 else (frozenset[int](), None)
        load = lab.generator.grpc(ours.grpc, "ping_test", connections=CONNECTIONS, cores=own)
        subjects.append(Subject(name=name, label=label, measure=served(ours, load, core_count=core_count)))
    if shared_cores:
        results.notes.append(
            "2 and 4 workers had both cores and the load took part of them: the ratio counts what it left"
        )
    interleave(subjects, plan, results)


def _write_pings(path: Path, sources: list[str]) -> Path:
    ping = json.loads((ROOT / "bench/calls/ping.json").read_text())
    path.write_text(json.dumps([{**ping, "SRC": src} for src in sources]))
    return path


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' if count != 1 else ''}"
