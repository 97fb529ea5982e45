"""Rows stored: pings and posts on stores that hold more and more, and the memory that open pings take meanwhile."""

import json
from functools import partial
from pathlib import Path

from bench.buyers import Buyers
from bench.campaigns import CampaignShape
from bench.fill import SOLD_EVERY, fill
from bench.lab import Lab
from bench.measure import Plan, Results, Subject, interleave
from bench.subjects import Pings

FEWEST = 10_000
TOLD_EVERY = 1_000_000


def measure_stored(lab: Lab, plan: Plan, results: Results) -> None:
    """Pings to one buyer and posts to him on an empty store, and on stores of tenfold size up to `plan.rows` pings."""
    found = lab.buyers()
    shape, pings = CampaignShape(urls=found.urls[:1]), Pings(lab, found)
    like = _sell(lab, found, shape)
    subjects: list[Subject] = []
    for count in _sizes(plan.rows):
        file = lab.folder / f"stored-{count}.db"
        fill(file, like, count, partial(_tell, plan, count))
        ours = lab.exchange([shape], store=f"sqlite:///{file}")
        plan.say(f"stored: {count:,} pings, {file.stat().st_size / 2**20:,.0f} MiB, open after {ours.started_s:.2f} s")
        what = f"{count:,} pings stored" if count else "empty store"
        subjects.append(pings.over_grpc(f"stored_{count}_ping", f"gRPC ping, 1 buyer, {what}", ours, 1))
        subjects.append(pings.then_posts(f"stored_{count}_post", f"gRPC post, {what}", ours))
    interleave(subjects, plan, results)
    ends = [f"stored_{count}_post" for count in (plan.rows, 0)]
    if all(name in results.samples for name in ends):
        full, empty = (results.median(name, "resident_mib") for name in ends)
        open_count = plan.rows - plan.rows // SOLD_EVERY
        results.readings["stored_open_ping_bytes"] = max(0.0, full - empty) * 2**20 / open_count


def _sizes(most: int) -> list[int]:
    sizes = [0]
    size = FEWEST
    while size < most:
        sizes.append(size)
        size *= 10
    return [*sizes, most]


def _sell(lab: Lab, found: Buyers, shape: CampaignShape) -> Path:
    """A store with a lead that was sold in it."""
    file, body = lab.folder / "like.db", lab.folder / "like.json"
    ours = lab.exchange([shape], store=f"sqlite:///{file}")
    lab.generator.write_posts(ours.grpc, 0.1, body)
    posts = len(json.loads(body.read_text()))
    lab.generator.grpc(ours.grpc, "post", body=body, calls=posts)(1)
    return file


def _tell(plan: Plan, count: int, done: int) -> None:
    if done % TOLD_EVERY == 0:
        plan.say(f"stored: filled {done:,} of {count:,}")
