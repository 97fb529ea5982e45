"""Stores: the same load on SQLite and on PostgreSQL, served by one process and by several.

Exchange, database, buyers and load share all cores, whichever store is measured; the database's time counts as ours.
"""

from dataclasses import replace

from bench.buyers import Buyers
from bench.campaigns import CampaignShape
from bench.lab import Lab, Served
from bench.measure import Plan, Results, Subject, interleave, served
from bench.subjects import Pings

PROCESSES = (1, 2, 4)
CONNECTIONS = 50  # which the kernel spreads over the processes


def measure_stores(lab: Lab, plan: Plan, results: Results) -> None:
    """Test-mode pings, pings to one buyer and posts to him, in turns on each store."""
    buyers, postgres = lab.buyers(), lab.postgres()
    shape = CampaignShape(urls=buyers.urls[:1])
    subjects = _subjects(lab, "sqlite", "SQLite", lab.exchange([shape], cores=lab.cores.all), buyers)
    for count in PROCESSES:
        ours = lab.exchange([shape], workers=count, store=postgres.database(), cores=lab.cores.all)
        both = replace(ours, children=(*ours.children, postgres))
        label = f"PostgreSQL, {count} process{'es' if count > 1 else ''}"
        subjects += _subjects(lab, f"postgres_{count}", label, both, buyers)
    results.notes.append(
        "stores: exchange, PostgreSQL, buyers and load share all cores; CPU/call and RSS count PostgreSQL"
    )
    interleave(subjects, plan, results)


def _subjects(lab: Lab, name: str, label: str, ours: Served, buyers: Buyers) -> list[Subject]:
    generator = lab.generator
    test, ping = (generator.grpc(ours.grpc, call, connections=CONNECTIONS) for call in ("ping_test", "ping"))
    return [
        Subject(name=f"{name}_test", label=f"test-mode ping, {label}", measure=served(ours, test)),
        Subject(
            name=f"{name}_ping",
            label=f"ping, 1 buyer, {label}",
            measure=served(ours, ping, buyers=buyers, buyer_calls=1),
        ),
        Pings(lab, buyers).then_posts(f"{name}_post", f"post, 1 buyer, {label}", ours, connections=CONNECTIONS),
    ]
